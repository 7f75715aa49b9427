"""Exported models behind the protocol of backbones: they score; what tunes is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from instructrec.backbones.base import MAX_CANDIDATE_TOKENS
from instructrec.backbones.causal import window_of
from instructrec.backbones.common import Language, pad
from instructrec.backbones.likelihoods import TreeInput
from instructrec.backbones.onnx.graphs import GRAPHS, Graphs, needs
from instructrec.backbones.onnx.session import Session
from instructrec.backbones.onnx.t5_graphs import GROUPS
from instructrec.errors import ModelError, UsageError
from instructrec.folders import read_json, sha256

_LENGTHS = np.array([*GROUPS, np.iinfo(np.int64).max])


@dataclass
class OnnxMemory:
    """Prompts that were read.

    Attributes:
        layers: Keys and values of each layer in turn.
        mask: (prompts, tokens) 1 where a token of a prompt stands.
        backbone: Who read them.
        first: (prompts, width) the state that predicts a first token, once it is known.
    """

    layers: list[Tensor]
    mask: Tensor
    backbone: OnnxBackbone
    first: Tensor | None = None

    @property
    def last(self) -> Tensor:
        """See `likelihoods.Memory`; T5 reads its start token with the first tree."""
        if self.first is None:
            nothing = torch.zeros((len(self.mask), 0), dtype=torch.long)
            self.backbone.follow(self, TreeInput(nothing, nothing, nothing[:, :, None].bool()))
        assert self.first is not None
        return self.first

    def select(self, rows: Tensor) -> OnnxMemory:
        """Some of the prompts."""
        return OnnxMemory(
            [layer[rows] for layer in self.layers],
            self.mask[rows],
            self.backbone,
            None if self.first is None else self.first[rows],
        )


class OnnxBackbone(Language):
    """An exported model.

    Args:
        folder: What `exporting.export_onnx` wrote.

    Raises:
        ModelError: Something in it is missing or damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        from transformers import AutoConfig, AutoTokenizer

        needs("onnxruntime")
        self.graphs = _described(folder)
        self.family = self.graphs.family
        try:
            config = AutoConfig.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder} cannot be loaded ({error})", "Export it anew") from None
        stand_in = SimpleNamespace(
            config=config,
            device=torch.device("cpu"),
            dtype=torch.float32,
            eval=lambda: None,
        )
        super().__init__(stand_in, tokenizer, name)
        self._sessions = {
            file.removesuffix(".onnx"): Session(folder / file)
            for file in self.graphs.files
            if file.endswith(".onnx")
        }

    @property
    def reads_apart(self) -> bool:
        """Whether what else is read at once changes nothing; eight bits are shared out by it."""
        return self.graphs.format != "onnx-int8"

    def _room(self, max_tokens: int) -> int:
        window = window_of(self.model.config) if self.family == "causal" else None
        room = super()._room(max_tokens)
        return room if window is None else min(room, window - MAX_CANDIDATE_TOKENS)

    def read(self, prompts: Sequence[Sequence[int]]) -> OnnxMemory:
        """See `likelihoods.TreeReader`."""
        ids, mask = pad(prompts, int(self.tokenizer.pad_token_id or 0))
        found = self._sessions["read"].run([ids, mask])
        if self.family == "seq2seq":
            return OnnxMemory(found, mask, self)
        return OnnxMemory(found[1:], mask, self, found[0])

    def follow(self, memory: OnnxMemory, tree: TreeInput) -> Tensor:
        """See `likelihoods.TreeReader`."""
        if self.family == "causal":
            given = [tree.tokens, memory.mask, tree.depths, tree.mask]
            return self._sessions["follow"].run([*given, *memory.layers])[0]
        start = torch.full((len(tree.tokens), 1), self.model.config.decoder_start_token_id)
        tokens = torch.cat([start, tree.tokens], dim=1)
        groups, at = tree.lines_with_root(_LENGTHS)
        # The graph has a fixed number of groups; one that is not needed holds a single root.
        groups += [np.zeros((1, 1), dtype=np.int64)] * (len(_LENGTHS) - len(groups))
        places = torch.from_numpy(at.reshape(tokens.shape))
        given = [tokens, memory.mask, places, *map(torch.from_numpy, groups)]
        states = self._sessions["follow"].run([*given, *memory.layers])[0]
        memory.first = states[:, 0]
        return states[:, 1:]

    def logits(self, hidden: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`."""
        return self._sessions["logits"].run([hidden])[0]

    def log_normalizers(self, hidden: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`."""
        return self._sessions["normalizers"].run([hidden])[0]

    def edge_logits(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """See `likelihoods.TreeReader`."""
        return self._sessions["edges"].run([hidden, tokens])[0]

    def encode(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported model is not tuned."""
        self._refuse("be tuned", "Tune the model that it was made of and export that again")

    def collate(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported model is not tuned."""
        self._refuse("be tuned", "Tune the model that it was made of and export that again")

    def loss_parts(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported model is not tuned."""
        self._refuse("be tuned", "Tune the model that it was made of and export that again")

    def generate(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: an exported model scores."""
        self._refuse("write texts", "Use the model that it was made of")

    def save(self, folder: Path) -> NoReturn:
        """Refused: the folder that it was loaded from is all there is."""
        self._refuse("be saved again", "Copy its folder")

    def _refuse(self, what: str, cure: str) -> NoReturn:
        raise UsageError(
            f"{self.name} is an exported model ({self.graphs.format}): it cannot {what}", cure
        )

    @property
    def vocabulary(self) -> int:
        """How many tokens the output head knows."""
        return self.graphs.vocabulary


def _described(folder: Path) -> Graphs:
    """graphs.json, once every file it names is as it was written.

    Raises:
        ModelError: A file is missing or damaged.
    """
    try:
        graphs = Graphs.model_validate(read_json(folder / GRAPHS))
    except ValidationError:
        raise ModelError(f"{folder / GRAPHS} is damaged", "Export the model anew") from None
    for name, digest in graphs.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing", "Export the model anew")
        if sha256(path) != digest:
            raise ModelError(f"{path} is damaged", "Export the model anew")
    return graphs
