"""SMART App Launch 2.2: discovery, authorization, tokens and the session that follows."""
