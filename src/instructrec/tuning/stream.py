"""The training rows as a fixed order of length-bucketed steps; any place can be gone to at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from instructrec.backbones import Backbone, EncodedExample
from instructrec.errors import DataError
from instructrec.hashing import stable_share
from instructrec.instructions.corpus import Corpus
from instructrec.tuning.config import TuneConfig

BLOCK_ROWS = 65_536
"""Rows that are shuffled, rendered and bucketed together: what memory is bounded by (about 6 KiB
a row). All rows of a user lie together in a corpus, so smaller blocks show the same history many
times within a few hundred steps, which is learnt by heart instead of from."""

_UNREAD = ("instruction", "response", "template", "split", "query_id")
"""Columns that are not needed: the rendering of epoch 0 and what is told by the file."""

Piece = list[EncodedExample]
Step = list[Piece]


class Position(NamedTuple):
    """A place in the order of training: epoch, block and the block's step that come next."""

    epoch: int = 0
    block: int = 0
    step: int = 0


START = Position()


class _Group(NamedTuple):
    """One row group of one shard, and how many rows it has."""

    path: Path
    number: int
    rows: int


@dataclass(eq=False)
class Stream:
    """All steps of training, in an order that depends on the corpus and the settings alone.

    Row groups of all shards are shuffled by (seed, epoch) and taken together into blocks; the rows
    of a block are shuffled, thinned by the mix, rendered with the templates of the epoch and
    tokenised, then sorted by length into pieces; pieces are shuffled again and `TuneConfig.pieces`
    of them make a step.

    Args:
        corpus: Where rows come from.
        backbone: What tokenises them.
        config: See `TuneConfig`.
    """

    corpus: Corpus
    backbone: Backbone
    config: TuneConfig

    @cached_property
    def _groups(self) -> list[_Group]:
        """Every row group of the training rows, shard after shard."""
        found = []
        for path in self.corpus.shards("train"):
            meta = pq.read_metadata(path)
            for number in range(meta.num_row_groups):
                found.append(_Group(path, number, meta.row_group(number).num_rows))
        return found

    def blocks(self, epoch: int) -> list[list[int]]:
        """The row groups of each block of an epoch."""
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(self._groups))
        blocks: list[list[int]] = []
        room = 0
        for group in order.tolist():
            if self._groups[group].rows > room:
                blocks.append([])
                room = BLOCK_ROWS
            blocks[-1].append(group)
            room -= self._groups[group].rows
        return blocks

    def steps(self, epoch: int, block: int) -> list[Step]:
        """The steps of one block."""
        rng = np.random.default_rng([self.config.seed, epoch, block])
        rows = self._read(self.blocks(epoch)[block]).to_dicts()
        examples: Piece = []
        for number in rng.permutation(len(rows)).tolist():
            examples += self._examples(rows[number], epoch)
        pieces = bucket(examples, self.config.batch_tokens // self.config.pieces)
        order = rng.permutation(len(pieces)).tolist()
        size = self.config.pieces
        return [
            [pieces[piece] for piece in order[at : at + size]] for at in range(0, len(order), size)
        ]

    def walk(self, start: Position = START) -> Iterator[tuple[Position, Step]]:
        """Every step from a place on, without end, each with the place after it.

        Raises:
            DataError: An epoch has no step at all.
        """
        epoch, block, index = start
        while True:
            found = index > 0 or block > 0
            for number in range(block, len(self.blocks(epoch))):
                steps = self.steps(epoch, number)
                found = found or bool(steps)
                for at in range(index, len(steps)):
                    yield Position(epoch, number, at + 1), steps[at]
                index = 0
            if not found:
                raise DataError(
                    f"the mix leaves no training row of {self.corpus.folder}",
                    "Raise a share of the mix, or build the corpus with other scenarios",
                )
            epoch, block = epoch + 1, 0

    def count(self, epoch: int) -> int:
        """How many steps an epoch has (renders and tokenises all of it)."""
        return sum(len(self.steps(epoch, block)) for block in range(len(self.blocks(epoch))))

    def _read(self, groups: Sequence[int]) -> pl.DataFrame:
        frames = []
        for path, number, _ in (self._groups[group] for group in groups):
            with pq.ParquetFile(path) as file:
                columns = [name for name in file.schema_arrow.names if name not in _UNREAD]
                frame = pl.from_arrow(file.read_row_group(number, columns=columns))
            assert isinstance(frame, pl.DataFrame)
            frames.append(frame)
        return pl.concat(frames)

    @cached_property
    def _shares(self) -> dict[tuple[str, str], float]:
        return {}

    def _share(self, row: Mapping[str, Any]) -> float:
        key = (row["scenario"], row["strategy"])
        if key not in self._shares:
            self._shares[key] = self.config.share(*key)
        return self._shares[key]

    def _examples(self, row: dict[str, Any], epoch: int) -> Piece:
        config, key = self.config, (self.config.seed, row["row"], epoch)
        if (share := self._share(row)) < 1 and stable_share("mix", *key) >= share:
            return []
        shows = _drawn(config.candidates_share, "candidates", *key)
        example = self.corpus.example(row, epoch, list_candidates=shows)
        limit = config.max_tokens
        found = [self.backbone.encode(example.rendered, example.response, limit, asks=row["asks"])]
        if row["asks"] == "item" and _drawn(config.null_share, "null", *key):
            found.append(self.backbone.encode(config.null_prompt, example.response, limit))
        return found


def _drawn(share: float, *parts: object) -> bool:
    return share > 0 and stable_share(*parts) < share


def bucket(examples: Sequence[EncodedExample], tokens: int) -> list[Piece]:
    """Sort examples by length into pieces.

    Args:
        examples: In any order; among equally long ones it is kept.
        tokens: The most tokens of a piece, padding included; a longer example stands alone.
    """
    pieces: list[Piece] = []
    width = 0
    for example in sorted(examples, key=len):
        width = len(example)
        if not pieces or (len(pieces[-1]) + 1) * width > tokens:
            pieces.append([])
        pieces[-1].append(example)
    return pieces
