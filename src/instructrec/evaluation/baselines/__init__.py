"""Rivals, one file each."""
