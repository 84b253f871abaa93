"""How the shipped encoders are made; only the modules that say so need torch (extra `train`)."""
