"""Load from several processes and machines, by Locust's master and workers."""
