"""The contract's main routes in Litestar."""
