"""Charts: each kind in a module, all of them in the registry."""
