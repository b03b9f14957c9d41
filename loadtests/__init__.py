"""The load: Locust users, the engine that does their I/O, and the workloads."""
