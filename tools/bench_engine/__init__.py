"""The load engine beside the load generators that are known for it."""
