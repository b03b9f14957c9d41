"""Servers and load in containers of a Docker engine."""
