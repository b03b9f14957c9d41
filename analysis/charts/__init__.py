"""Charts of a run: one module a chart, on a common frame."""
