"""Speeds, measured side by side as ratios: `make bench`, or one of them with `python -m benchmarks.NAME`."""

import os

# As the dashboard does, for all contestants alike: waiting threads sleep. To be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
