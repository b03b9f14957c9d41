"""The contract's main routes in Quart."""
