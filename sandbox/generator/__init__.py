"""Synthetic patients with radiographs: pictures projected physically, records drawn from tables."""
