"""Names and values that every package shares; imports nothing of ours but the load engine's."""
