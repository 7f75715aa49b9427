"""Made-up names of brands, people, bands and product lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from instructrec.data.market._vocabulary import Leaf


class Namer:
    """Draws names from their parts.

    Args:
        parts: The packaged name parts.
        rng: Decides.
    """

    def __init__(self, parts: Mapping[str, Sequence[str]], rng: np.random.Generator) -> None:
        self._parts = parts
        self._rng = rng
        self._titles: dict[str, int] = {}

    def brand(self, leaf: Leaf) -> str:
        """A maker, a studio, an author or an artist, whichever the leaf has."""
        if leaf.maker == "author":
            return self._person()
        if leaf.maker == "artist" and "word" in leaf.slots:
            return self._any("band").format(
                adj=self._of(leaf.slots["adj"]),
                word=self._of(leaf.slots["word"]),
                line=self._any("line"),
                first=self._any("first"),
                last=self._any("last"),
                last2=self._any("last"),
            )
        style = (
            "studio_style" if leaf.maker == "studio" and "title" in leaf.slots else "brand_style"
        )
        return self._any(style).format(self._any("brand_head") + self._any("brand_tail"))

    def line(self, leaf: Leaf, brand: str) -> dict[str, str]:
        """What all titles of one product line share."""
        slots = {
            "brand": brand,
            "line": self._any("line"),
            "place": self._any("place"),
            "name": self._any("first"),
        }
        if "series" in leaf.slots:
            slots["series"] = leaf.slots["series"][0]
        if "title" in leaf.slots:
            slots["title"] = self._title(leaf)
        if leaf.maker != "author" and "noun" in leaf.slots:
            slots["noun"] = self._of(leaf.slots["noun"])
        return slots

    def _title(self, leaf: Leaf) -> str:
        """The next title of the leaf; when all are used, one with a further word."""
        used = self._titles.get(leaf.name, 0)
        self._titles[leaf.name] = used + 1
        titles = leaf.slots["title"]
        title = titles[used % len(titles)]
        return title if used < len(titles) else f"{title} {self._any('line')}"

    def _person(self) -> str:
        return f"{self._any('first')} {self._any('last')}"

    def _any(self, name: str) -> str:
        return self._of(self._parts[name])

    def _of(self, choices: Sequence[str]) -> str:
        return choices[int(self._rng.random() * len(choices))]
