"""Values and rules: standard library and numpy only."""
