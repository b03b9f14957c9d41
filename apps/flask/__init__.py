"""The contract's main routes in Flask."""
