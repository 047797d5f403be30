"""The page: a Bokeh server application that draws what vislib computes."""

import os

# Read by OpenMP when torch is loaded: threads that wait must sleep, not spin, or the event loop and the other
# processes of a small machine stand still (measured on two busy cores: eight times as many steps a second).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
