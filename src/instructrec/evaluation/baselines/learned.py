"""What all rivals that learn share: vectors of requests and items, training, a folder on disk."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError
from instructrec.evaluation.baselines._texts import Bag, bag_of
from instructrec.evaluation.baselines.base import Input, Material
from instructrec.evaluation.baselines.settings import RivalConfig
from instructrec.folders import read_json, write_json
from instructrec.instructions.schema import Instruction
from instructrec.protocols import SILENT, Filters, Progress, Rows, Scores
from instructrec.retrieval._sequence_batches import latest
from instructrec.retrieval._sequence_training import Descent
from instructrec.retrieval._top import products
from instructrec.retrieval._training import Batches, Trainer, net_of, parts_of
from instructrec.retrieval.dense import said_in
from instructrec.retrieval.encoder import Vectors
from instructrec.retrieval.search import VectorSearch
from instructrec.training import EVERY_MINUTE, SavePoints, Store

WEIGHTS = "rival.safetensors"
ITEMS = "items.parquet"
ABOUT = "rival.json"
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Asked:
    """n requests as nets read them.

    Attributes:
        histories: (n, longest) catalogue rows, oldest first, -1 behind the end of each.
        bags: What each says in words; empty for rivals that read none.
    """

    histories: Rows
    bags: Sequence[Bag] = ()

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, chunk: slice) -> Asked:
        """Some of the requests, histories no wider than they need."""
        rows = self.histories[chunk]
        longest = int((rows >= 0).sum(axis=1).max(initial=0))
        return Asked(rows[:, :longest], self.bags[chunk])

    @property
    def says(self) -> NDArray[np.bool_]:
        """(n,) whether a request has anything to go by."""
        known = np.asarray((self.histories >= 0).any(axis=1), dtype=np.bool_)
        if self.bags:
            known |= np.array([len(bag) > 0 for bag in self.bags])
        return known


class RivalNet(nn.Module, ABC):
    """A net that gives every request and every item a vector; their dot product is the score."""

    @abstractmethod
    def item_vectors(self, which: Tensor | None = None) -> Tensor:
        """(items, dimensions); those of some rows alone where ``which`` names them."""

    @abstractmethod
    def wanted(self, vectors: Tensor, there: Tensor, bags: Sequence[Bag]) -> Tensor:
        """(n, dimensions): what each request asks for.

        Args:
            vectors: (n, longest, dimensions) vectors of the histories' items, oldest first.
            there: (n, longest) whether there is an item; not behind the end of a history.
            bags: What each says in words.
        """


class Learner(Descent):
    """What one update of a rival does (`instructrec.retrieval._training`).

    Args:
        what: What is learnt from, for people to read.
        net: The rival's.
        batches: The examples.
        loss: Of the examples with these numbers at a step.
        config: See `RivalConfig`.
    """

    def __init__(
        self,
        what: str,
        net: RivalNet,
        batches: Batches,
        loss: Callable[[NDArray[np.int64], int], Tensor],
        config: RivalConfig,
    ) -> None:
        super().__init__(net, config)
        self.what = what
        self.net, self.batches, self.config, self._loss = net, batches, config, loss
        self.usual_epochs = config.usual_epochs

    def batch_loss(self, examples: NDArray[np.int64], step: int) -> Tensor:
        """See `Descent.batch_loss`."""
        return self._loss(examples, step)


@dataclass(frozen=True, eq=False)
class Effort:
    """How a training is carried out; none of it changes what a rival is.

    Attributes:
        state: Where an unfinished training is kept; removed by the caller.
        share: The share of the training after which it stops (`Learned.best_share` of a fit with
            validation).
        saves: When the state is written.
        progress: Told how far it is.
    """

    state: Path | None = None
    share: float = 1.0
    saves: SavePoints = EVERY_MINUTE
    progress: Progress = field(default=SILENT)


class Learned(ABC):
    """A rival that learns (`instructrec.evaluation.baselines.base.Baseline`).

    A request that it can make nothing of scores zero everywhere. An item that is new in the
    catalogue since it was fitted is an average one.

    Args:
        catalogue: The items.
        net: Trained; its item vectors are not computed any more.
        vectors: (items, dimensions) by catalogue row.
        about: What ``rival.json`` holds.
    """

    name: str
    reads: ClassVar[frozenset[Input]]
    config_type: ClassVar[type[RivalConfig]]

    def __init__(
        self, catalogue: Catalogue, net: RivalNet, vectors: Vectors, about: dict[str, Any]
    ) -> None:
        self.catalogue, self.net, self.vectors, self.about = catalogue, net.eval(), vectors, about
        self.config = self.config_type(**about["config"])
        self._search = VectorSearch(catalogue, vectors)

    @classmethod
    @abstractmethod
    def make_net(cls, config: Any, catalogue: Catalogue | None) -> RivalNet:
        """A net with starting weights; without items where no catalogue is given."""

    @classmethod
    @abstractmethod
    def learner(cls, net: Any, material: Material, config: Any) -> Learner:
        """What it learns from.

        Raises:
            UnavailableError: There is nothing of that kind here.
        """

    @classmethod
    @abstractmethod
    def validation(cls, material: Material, config: Any) -> tuple[Asked, Rows]:
        """Validation requests and the rows of their targets."""

    @classmethod
    def fit(
        cls, material: Material, config: RivalConfig | None = None, effort: Effort | None = None
    ) -> Self:
        """Train.

        Killed and called again with the same arguments it goes on where it was saved last and
        gives the same weights, bit for bit. Same settings and seed give the same bytes on one
        machine with one number of threads, unless a time budget cuts the training.

        Raises:
            UnavailableError: There is nothing here that it could learn from.
            ModelError: The loss is not a number any more.
        """
        effort = effort or Effort()
        config = config or cls.config_type(seed=material.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = cls.make_net(config, material.catalogue)
        learner = cls.learner(net, material, config)
        validate = None
        if not material.refit:
            validate = _validator(*_some(*cls.validation(material, config), config))
        with tempfile.TemporaryDirectory() as nowhere:
            store = Store(effort.state or Path(nowhere))
            trainer = Trainer(
                learner,
                store,
                validate,
                share=effort.share,
                saves=effort.saves,
                progress=effort.progress,
            )
            plan, reached = trainer.run()
        about = {
            "config": config.model_dump(),
            "parameters": sum(value.numel() for value in net.parameters()),
            "plan": plan.model_dump(),
            "curve": reached.curve,
            "validations": reached.validations,
            "best_step": reached.best["step"] if reached.best else reached.step,
        }
        return cls(material.catalogue, net, _all_vectors(net), about)

    @property
    def best_share(self) -> float:
        """The share of its training after which it was best."""
        return float(self.about["best_step"] / self.about["plan"]["steps"])

    def wanted(self, instructions: Sequence[Instruction]) -> Vectors:
        """(requests, dimensions): what each asks for, zeros where nothing is known."""
        return _wanted(self.net, self.vectors, self.asked(instructions))

    def asked(self, instructions: Sequence[Instruction]) -> Asked:
        """The requests as the net reads them; no more of them than this rival reads."""
        histories: list[Rows] = [np.zeros(0, dtype=np.int64)] * len(instructions)
        if "history" in self.reads:
            known = [self.catalogue.rows(one.preference.history_ids) for one in instructions]
            histories = [rows[rows >= 0] for rows in known]
        return as_asked(histories, instructions if "words" in self.reads else (), self.config)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return products(self.vectors, self.wanted(instructions), candidates)

    def retrieve(
        self, instructions: Sequence[Instruction], k: int, filters: Sequence[Filters] | None = None
    ) -> Rows:
        """See `instructrec.protocols.Retriever.retrieve`."""
        return self._search.top(self.wanted(instructions), k, filters)

    def save(self, folder: Path) -> None:
        """Write weights, the items' vectors and the settings."""
        folder.mkdir(parents=True, exist_ok=True)
        items = np.ascontiguousarray(self.vectors)
        save_file({**parts_of(self.net), "items": items}, folder / WEIGHTS)
        frame = pl.DataFrame({"item_id": self.catalogue.item_ids})
        frame.write_parquet(folder / ITEMS, compression="zstd")
        write_json(folder / ABOUT, self.about)

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Self:
        """Read what `save` wrote.

        Raises:
            FolderError: A file is missing or damaged.
        """
        try:
            about = read_json(folder / ABOUT)
            arrays: dict[str, NDArray[Any]] = load_file(folder / WEIGHTS)
            item_ids = pl.read_parquet(folder / ITEMS)["item_id"].to_list()
            net = cls.make_net(cls.config_type(**about["config"]), None)
            weights = net_of(arrays)
            if "ids" in net.state_dict():
                weights["ids"] = net.state_dict()["ids"]
            net.load_state_dict(weights)
            kept = arrays["items"]
        except (SafetensorError, OSError, KeyError, RuntimeError) as error:
            raise FolderError(f"{folder} is damaged ({error})", "Train the rival again") from None
        rows = catalogue.rows(item_ids)
        vectors = np.tile(kept.mean(axis=0), (len(catalogue), 1)).astype(np.float32)
        vectors[rows[rows >= 0]] = kept[rows >= 0]
        return cls(catalogue, net, vectors, about)


def as_asked(
    histories: Sequence[Rows], instructions: Sequence[Instruction], config: RivalConfig
) -> Asked:
    """Requests as nets read them.

    Args:
        histories: Known catalogue rows of each, oldest first.
        instructions: Whose words are read; none to read no words.
        config: How much of a history is read, and how words are hashed.
    """
    buckets = getattr(config, "buckets", 0)
    bags = [bag_of(said_in(one, latin_only=False), buckets) for one in instructions]
    return Asked(latest(histories, config.max_history), bags)


def _some(asked: Asked, targets: Rows, config: RivalConfig) -> tuple[Asked, Rows]:
    """A random sample of the validation requests."""
    count = min(config.validation_users, len(targets))
    drawn = np.random.default_rng((config.seed, 2)).choice(len(targets), count, replace=False)
    chosen = np.sort(drawn)
    bags = [asked.bags[at] for at in chosen.tolist()] if asked.bags else ()
    return Asked(asked.histories[chosen], bags), targets[chosen]


def _validator(asked: Asked, targets: Rows) -> Callable[[RivalNet], float] | None:
    """Measures the targets' NDCG in the whole catalogue, without a cut, ties against them."""
    if not len(targets):
        return None

    def validate(net: RivalNet) -> float:
        net.eval()
        vectors = _all_vectors(net)
        wanted = _wanted(net, vectors, asked)
        ranks = np.empty(len(targets))
        for start in range(0, len(targets), _CHUNK):
            rows = targets[start : start + _CHUNK]
            scores = wanted[start : start + _CHUNK] @ vectors.T
            own = scores[np.arange(len(rows)), rows]
            ranks[start : start + _CHUNK] = (scores >= own[:, None]).sum(axis=1)
        return float((1.0 / np.log2(1.0 + ranks)).mean())

    return validate


def _all_vectors(net: RivalNet) -> Vectors:
    net.eval()
    with torch.inference_mode():
        vectors: Vectors = net.item_vectors().numpy().astype(np.float32, copy=True)
    return vectors


def _wanted(net: RivalNet, vectors: Vectors, asked: Asked) -> Vectors:
    """(requests, dimensions), zeros for a request that says nothing."""
    found = np.zeros((len(asked), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(asked), _CHUNK):
        part = asked.take(slice(start, start + _CHUNK))
        says = part.says
        if not says.any():
            continue
        rows = part.histories
        items = torch.from_numpy(vectors[np.maximum(rows, 0)])
        with torch.inference_mode():
            states = net.wanted(items, torch.from_numpy(rows >= 0), part.bags).numpy()
        found[start : start + _CHUNK] = np.where(says[:, None], states, 0.0)
    return found
