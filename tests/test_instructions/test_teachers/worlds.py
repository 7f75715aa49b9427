"""Asks about people and things that nobody knows, for tests of teachers."""

from __future__ import annotations

from instructrec.instructions.teachers.base import Ask, ItemFacts


def asks_of(users: int, first: int = 0) -> list[Ask]:
    """Three preferences and two intentions for each of some users."""
    asks = []
    for user in range(first, first + users):
        items = tuple(ItemFacts(f"Zorblax {user} volume {n}", ("Music", "Soul")) for n in range(3))
        name, review = f"u{user}", f"A lovely voice and a piano, my evening number {user}."
        for view in ("overall", "long_term", "short_term"):
            asks.append(Ask("preference", view, name, None, "train", items, seed=user))
        for view in ("what_i_want", "what_it_is_like"):
            asks.append(Ask("intention", view, name, f"i{user}", "train", (), items[0], review))
    return asks
