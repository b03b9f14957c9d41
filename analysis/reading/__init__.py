"""A run's folder, read back."""
