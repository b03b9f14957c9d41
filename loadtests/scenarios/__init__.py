"""Ordinary Locust files, run slice by slice beside the load engine."""
