"""The plain application, each form made of the other by a2wsgi."""
