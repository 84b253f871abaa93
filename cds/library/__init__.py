"""The case library: import, de-identification, catalogue, index building."""
