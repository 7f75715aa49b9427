"""Recommendation as instruction following: the public names of instructrec."""

__version__ = "0.1.0"
