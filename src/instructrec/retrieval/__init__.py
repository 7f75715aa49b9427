"""Catalogue to candidates."""
