"""Protocols, rivals, significance and reports."""
