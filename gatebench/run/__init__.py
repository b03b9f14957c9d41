"""A run from its plan to its report, block by block."""
