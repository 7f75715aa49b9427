"""Corpus to Model."""
