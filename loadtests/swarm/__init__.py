"""Locust's side of the load: the load process, its workers, and users whose connections the engine drives."""
