"""The pages: parse the request, call the engine, render; no rules."""
