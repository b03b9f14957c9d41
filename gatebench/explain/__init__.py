"""One live request, step by step."""
