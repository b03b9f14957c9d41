"""The shipped application with a recorder around it, once for each interface."""
