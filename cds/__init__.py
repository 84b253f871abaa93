"""The decision-support engine and the two doors that machines use."""
