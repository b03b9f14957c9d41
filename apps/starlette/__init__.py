"""The contract's main routes in Starlette."""
