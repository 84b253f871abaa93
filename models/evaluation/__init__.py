"""Measures of retrieval, computed within one source at a time."""
