"""Shows what passes between a client, a server and an application: tracing wrappers, a client, and words."""
