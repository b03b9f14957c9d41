"""The contract's main routes in FastAPI, with `def` endpoints, which it calls in threads."""
