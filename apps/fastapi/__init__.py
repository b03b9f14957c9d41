"""The contract's main routes in FastAPI, with `async def` endpoints."""
