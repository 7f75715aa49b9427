"""Stable hashes: the same on every machine, whatever the process or the order of work."""

from __future__ import annotations

from hashlib import blake2b


def stable_hash(*parts: object) -> int:
    """A 63-bit number that depends on the parts' text alone."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stable_share(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts' text alone."""
    return stable_hash(*parts) / 2**63
