"""The routes, one module a group: each has a ``router``."""
