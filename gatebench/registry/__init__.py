"""The folders that register servers, applications and workloads."""
