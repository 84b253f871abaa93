"""Benchmarks: ratios against peers and against limits, measured in one run."""
