"""The page: one Bokeh session composes panels over vislib and models."""
