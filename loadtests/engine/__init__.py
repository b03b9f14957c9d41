"""The load engine: one epoll loop over raw sockets that times and checks every answer.

It imports neither Locust nor gevent: it runs in a process of its own, without monkey-patching.
"""
