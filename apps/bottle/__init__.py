"""The contract's main routes in Bottle."""
