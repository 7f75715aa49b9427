"""Looks at a finished corpus: how good its texts are, and whether any row knows too much."""
