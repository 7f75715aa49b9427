"""API keys: made at random, kept as a hash, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["events", "admin"]
"""``events`` asks for recommendations and writes events; ``admin`` may do everything."""
KINDS: tuple[Kind, ...] = ("events", "admin")
_PREFIX = "ir"
_NOBODY = "0" * 64


def new_key(name: str, kind: Kind, expires_at: int | None, now: int) -> tuple[str, dict[str, Any]]:
    """A new key and the row to keep of it.

    Args:
        name: Whose it is.
        kind: What it opens.
        expires_at: Until when, in milliseconds.
        now: The time.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {
        "key_id": key_id,
        "name": name,
        "kind": kind,
        "digest": _digest(secret),
        "created_at": now,
        "expires_at": expires_at,
    }
    return f"{_PREFIX}_{key_id}_{secret}", row


def parse(key: str) -> tuple[str, str] | None:
    """Id and secret of a key, none for what does not look like one."""
    prefix, _, rest = key.partition("_")
    key_id, found, secret = rest.partition("_")
    return (key_id, secret) if prefix == _PREFIX and found and key_id and secret else None


def opened(secret: str, row: Mapping[str, Any] | None, now: int) -> Kind | None:
    """What a secret opens; an unknown key takes as long as a wrong one.

    Args:
        secret: As it was sent.
        row: What is kept of the key with that id.
        now: The time in milliseconds.
    """
    known = row["digest"] if row is not None else _NOBODY
    is_right = hmac.compare_digest(_digest(secret), known)
    if row is None or not is_right:
        return None
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return None
    kind: Kind = row["kind"]
    return kind


def _digest(secret: str) -> str:
    # The secret has 256 random bits, so that a slow hash would add nothing.
    return hashlib.sha256(secret.encode()).hexdigest()
