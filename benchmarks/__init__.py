"""Speeds, measured side by side as ratios: `make bench`, or one of them with `python -m benchmarks.NAME`."""
