"""The sequential retriever: a text-aware SASRec over the history's items."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from instructrec.data.catalogue import Catalogue
from instructrec.data.sequences import Sequences
from instructrec.data.splits import Targets
from instructrec.errors import DataError, FolderError, ModelError, UsageError
from instructrec.folders import read_json, write_json
from instructrec.hashing import stable_hash
from instructrec.instructions.schema import Instruction
from instructrec.protocols import SILENT, Filters, Progress, Rows, Scores
from instructrec.retrieval import encoder as encoders
from instructrec.retrieval._sequence_batches import Batches, latest
from instructrec.retrieval._sequence_net import SequenceNet
from instructrec.retrieval._sequence_training import Updater, Validate
from instructrec.retrieval._top import products
from instructrec.retrieval._training import Trainer, net_of, parts_of
from instructrec.retrieval.dense import ItemVectors
from instructrec.retrieval.encoder import TextEncoder, Vectors
from instructrec.retrieval.search import VectorSearch
from instructrec.retrieval.settings import SequentialConfig
from instructrec.training import Store

WEIGHTS = "sequential.safetensors"
ITEMS = "items.parquet"
ABOUT = "sequential.json"
_CHUNK = 256


class Sequential:
    """Scores an item by how well it goes on the history, as a trained SASRec judges it.

    An item's vector is an id vector plus a linear map of the frozen vector of its text; an item
    that was in no training sequence has its text alone. The latest items of a long history are
    read. A request without any known item scores zero everywhere and retrieves nothing.

    Source: Kang, McAuley 2018, "Self-Attentive Sequential Recommendation"; the text-aware rival of
    docs/paper.md §7 (Video Games, HR@1 .7060 of 10).

    Args:
        catalogue: The items.
        net: Trained; its own id vectors are not used any more.
        ids: (items, dimensions) id vectors by catalogue row, zeros for items never seen.
        texts: (items, dimensions) mapped text vectors, zeros where there is no text encoder.
        about: What ``sequential.json`` holds.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        net: SequenceNet,
        ids: Vectors,
        texts: Vectors,
        about: dict[str, Any],
    ) -> None:
        self.name = "sequential"
        self.catalogue = catalogue
        self.net = net.eval()
        self.ids, self.texts, self.about = ids, texts, about
        self.vectors = _filled(ids + texts)
        self._search = VectorSearch(catalogue, self.vectors)

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        catalogue: Catalogue,
        *,
        texts: ItemVectors | None = None,
        config: SequentialConfig | None = None,
        validation: Targets | None = None,
        share: float = 1.0,
        state: Path | None = None,
        progress: Progress = SILENT,
    ) -> Sequential:
        """Train on sequences.

        Killed and called again with the same arguments it goes on where it was saved last and
        gives the same weights, bit for bit. Same settings and seed give the same bytes on one
        machine with one number of threads.

        Args:
            sequences: What may be learnt from.
            catalogue: The items.
            texts: Their texts as vectors; without them items are ids alone.
            config: See `SequentialConfig`.
            validation: Targets on which the best weights are chosen; none to keep the last.
            share: The share of the training after which it stops (`best_share` of another fit).
            state: Where an unfinished training is kept; removed by the caller.
            progress: Told how far it is.

        Raises:
            DataError: No sequence has two items.
            ModelError: The loss is not a number any more.
        """
        config = config or SequentialConfig()
        seen = np.flatnonzero(sequences.counts(len(catalogue)))
        numbers = np.searchsorted(seen, sequences.rows)
        batches = Batches(
            replace(sequences, rows=numbers), config.max_history, config.batch, config.seed
        )
        if not len(batches):
            raise DataError(
                "no training sequence has two items, so there is no order to learn from",
                "Import users with three interactions or more, or leave the sequential model out",
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        net = _new_net(config, len(seen), texts).to(device)
        frozen = None if texts is None else torch.from_numpy(texts.vectors)
        known = None if frozen is None else frozen[torch.from_numpy(seen)].to(device)
        validate = _validator(catalogue, seen, frozen, validation, config)
        with tempfile.TemporaryDirectory() as nowhere:
            trainer = Trainer(
                Updater(net, batches, known, config),
                Store(state or Path(nowhere)),
                validate,
                share=share,
                progress=progress,
            )
            plan, reached = trainer.run()
        about = {
            "config": config.model_dump(),
            "encoder": None if texts is None else texts.encoder,
            "identity": None if texts is None else texts.identity,
            "text_dimensions": 0 if texts is None else texts.vectors.shape[1],
            "plan": plan.model_dump(),
            "curve": reached.curve,
            "validations": reached.validations,
            "best_step": reached.best["step"] if reached.best else reached.step,
        }
        ids, mapped = _tables(net.cpu(), len(catalogue), seen, frozen)
        return cls(catalogue, net, ids, mapped, about)

    @property
    def best_share(self) -> float:
        """The share of its training after which it was best."""
        return float(self.about["best_step"] / self.about["plan"]["steps"])

    def requests(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): what each history asks for, zeros where none is known."""
        ids = [one.preference.history_ids for one in instructions]
        known = [self.catalogue.rows(history) for history in ids]
        longest = self.net.config.max_history
        histories = latest([rows[rows >= 0] for rows in known], longest)
        return _encode(self.net, self.vectors, histories)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; logits, reads ``preference.history_ids``."""
        return products(self.vectors, self.requests(instructions), candidates)

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`; nothing where no history is known."""
        return self._search.top(self.requests(instructions), k, filters)

    def save(self, folder: Path) -> None:
        """Write weights, the items' vectors, which item and text each is of, and the settings."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({**parts_of(self.net), "ids": self.ids, "texts": self.texts}, folder / WEIGHTS)
        texts = [stable_hash(text) for text in self.catalogue.texts]
        frame = pl.DataFrame({"item_id": self.catalogue.item_ids, "text": texts})
        frame.write_parquet(folder / ITEMS, compression="zstd")
        write_json(folder / ABOUT, self.about)

    @classmethod
    def load(
        cls, folder: Path, catalogue: Catalogue, *, texts: ItemVectors | None = None
    ) -> Sequential:
        """Read what `save` wrote.

        An item that is new in the catalogue, or whose text has changed, is read anew by the text
        encoder; where that is not on this machine, it is an average item.

        Args:
            folder: Where `save` wrote.
            catalogue: The items.
            texts: Their texts as vectors, where the caller has them already.

        Raises:
            FolderError: A file is missing or damaged.
        """
        about, arrays, frame = _read(folder)
        config = SequentialConfig(**about["config"])
        net = SequenceNet(config, 0, about["text_dimensions"])
        try:
            net.load_state_dict({**net_of(arrays), "ids": net.ids.detach()})
        except RuntimeError as error:
            raise _damaged(folder) from error
        rows = catalogue.rows(frame["item_id"].to_list())
        there = np.flatnonzero(rows >= 0)
        ids = np.zeros((len(catalogue), config.dimensions), dtype=np.float32)
        mapped = np.zeros_like(ids)
        ids[rows[there]], mapped[rows[there]] = arrays["ids"][there], arrays["texts"][there]
        if net.text is not None:
            now = np.array([stable_hash(text) for text in catalogue.texts], dtype=np.int64)
            then = frame["text"].to_numpy().astype(np.int64)
            is_same = np.zeros(len(catalogue), dtype=np.bool_)
            is_same[rows[there]] = now[rows[there]] == then[there]
            changed = np.flatnonzero(~is_same)
            mapped[changed] = _mapped(net, catalogue, changed, about, texts)
        return cls(catalogue, net, ids, mapped, about)


def _new_net(config: SequentialConfig, items: int, texts: ItemVectors | None) -> SequenceNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return SequenceNet(config, items, 0 if texts is None else texts.vectors.shape[1])


def _validator(
    catalogue: Catalogue,
    seen: Rows,
    texts: Tensor | None,
    targets: Targets | None,
    config: SequentialConfig,
) -> Validate | None:
    """Measures the targets' NDCG in the whole catalogue, without a cut, ties against them."""
    if targets is None or not len(targets):
        return None
    count = min(config.validation_users, len(targets))
    rng = np.random.default_rng((config.seed, 2))
    chosen = np.sort(rng.choice(len(targets), count, replace=False))
    wanted = targets.rows[chosen]
    histories = latest([targets.histories[number] for number in chosen], config.max_history)

    def validate(net: SequenceNet) -> float:
        net.eval()
        ids, mapped = _tables(net, len(catalogue), seen, texts)
        vectors = _filled(ids + mapped)
        states = _encode(net, vectors, histories)
        ranks = np.empty(count)
        for start in range(0, count, _CHUNK):
            rows = wanted[start : start + _CHUNK]
            scores = states[start : start + _CHUNK] @ vectors.T
            ranks[start : start + _CHUNK] = (
                scores >= scores[np.arange(len(rows)), rows][:, None]
            ).sum(axis=1)
        return float((1.0 / np.log2(1.0 + ranks)).mean())

    return validate


def _tables(
    net: SequenceNet, items: int, seen: Rows, texts: Tensor | None
) -> tuple[Vectors, Vectors]:
    """Id vectors and mapped text vectors of the whole catalogue."""
    ids = np.zeros((items, net.config.dimensions), dtype=np.float32)
    ids[seen] = net.ids.detach().cpu().numpy()
    if net.text is None or texts is None:
        return ids, np.zeros_like(ids)
    with torch.inference_mode():
        mapped = torch.nn.functional.linear(texts, net.text.weight.cpu())
    return ids, mapped.numpy()


def _filled(vectors: Vectors) -> Vectors:
    """The vectors, those of which nothing is known (zeros) replaced by the mean of the others."""
    unknown = ~np.any(vectors, axis=1)
    if unknown.any() and not unknown.all():
        vectors[unknown] = vectors[~unknown].mean(axis=0)
    return vectors


def _encode(net: SequenceNet, vectors: Vectors, histories: Rows) -> Vectors:
    """(histories, dimensions): the state after each history's last item, zeros for an empty one.

    Args:
        net: In evaluation mode.
        vectors: (items, dimensions) by catalogue row.
        histories: (n, longest) rows, -1 behind the end of each.
    """
    device = net.ids.device
    lengths = (histories >= 0).sum(axis=1)
    wanted = np.zeros((len(histories), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(histories), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        longest = int(lengths[chunk].max(initial=0))
        if not longest:
            continue
        rows = np.maximum(histories[chunk, :longest], 0)
        with torch.inference_mode():
            states = net(torch.from_numpy(vectors[rows]).to(device)).cpu().numpy()
        last = states[np.arange(len(rows)), np.maximum(lengths[chunk] - 1, 0)]
        wanted[chunk] = np.where(lengths[chunk, None] > 0, last, 0.0)
    return wanted


def _mapped(
    net: SequenceNet,
    catalogue: Catalogue,
    rows: Rows,
    about: dict[str, Any],
    texts: ItemVectors | None,
) -> Vectors:
    """Mapped text vectors of some items; zeros where nothing here can read their texts."""
    assert net.text is not None
    nothing = np.zeros((len(rows), net.config.dimensions), dtype=np.float32)
    if not len(rows):
        return nothing
    if texts is not None and texts.identity == about["identity"]:
        read = texts.vectors[rows]
    else:
        encoder = _recorded(about)
        if encoder is None:
            return nothing
        read = encoder.encode([catalogue.texts[row] for row in rows])
    with torch.inference_mode():
        mapped: Vectors = net.text(torch.from_numpy(read)).numpy()
    return mapped


def _recorded(about: dict[str, Any]) -> TextEncoder | None:
    """The encoder that read the items while learning, none where it is not on this machine."""
    try:
        found = encoders.find_encoder(about.get("encoder"))
    except (ModelError, UsageError):
        return None
    return found if found is not None and found.identity == about["identity"] else None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]], pl.DataFrame]:
    for name in (ABOUT, WEIGHTS, ITEMS):
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing", "Fit the retrievers again")
    about: dict[str, Any] = read_json(folder / ABOUT)
    try:
        arrays: dict[str, NDArray[Any]] = load_file(folder / WEIGHTS)
        frame = pl.read_parquet(folder / ITEMS)
    except (SafetensorError, pl.exceptions.PolarsError) as error:
        raise _damaged(folder) from error
    if not {"config", "identity", "text_dimensions"} <= about.keys() or "ids" not in arrays:
        raise _damaged(folder)
    return about, arrays, frame


def _damaged(folder: Path) -> FolderError:
    return FolderError(f"{folder} is damaged", "Fit the retrievers again")
