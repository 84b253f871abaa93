"""CDS Hooks wire format: JSON to values and back, framework-free."""
