"""The network of a text encoder: transformer, pooling, dense layers, length 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from instructrec.backbones._quiet import quiet
from instructrec.errors import ModelError
from instructrec.retrieval._layout import Layout, Projection


class SentenceModel(torch.nn.Module):
    """Token ids to vectors of length 1.

    Args:
        transformer: Gives ``last_hidden_state``.
        layout: See `Layout`.
        projections: Its dense layers.
    """

    transformer: Any

    def __init__(
        self, transformer: torch.nn.Module, layout: Layout, projections: Sequence[torch.nn.Module]
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.projections = torch.nn.ModuleList(projections)
        self.pooling = layout.pooling
        self.padding = int(layout.config.get("pad_token_id") or 0)
        width = int(self.transformer.config.hidden_size) * len(self.pooling)
        last = [layer[0].out_features for layer in projections]  # type: ignore[index]
        self.dimensions = int(last[-1]) if last else width

    def batch(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(texts, longest) token ids and the mask of what is no padding, which stands behind."""
        lengths = torch.tensor([len(one) for one in ids])
        padded = torch.full((len(ids), max(int(lengths.max()), 1)), self.padding, dtype=torch.long)
        for line, one in zip(padded, ids, strict=True):
            line[: len(one)] = torch.tensor(one, dtype=torch.long)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        device = self.transformer.device
        return padded.to(device), mask.to(device)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(texts, dimensions) vectors of length 1."""
        return self.finish(self.transformer(input_ids=ids, attention_mask=mask)[0], mask)

    def finish(self, states: Tensor, mask: Tensor) -> Tensor:
        """Vectors of length 1 from the last states.

        Args:
            states: (texts, longest, hidden).
            mask: (texts, longest) 1 where there is a token.
        """
        vectors = torch.cat([_pool(states, mask, mode) for mode in self.pooling], dim=1)
        for layer in self.projections:
            vectors = layer(vectors)
        return torch.nn.functional.normalize(vectors, dim=1)

    def read(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of one batch of texts, without gradients."""
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self(*self.batch(ids)).float().cpu().numpy()
        return vectors


def _pool(states: Tensor, mask: Tensor, mode: str) -> Tensor:
    """(texts, hidden): one vector from the states of a text's tokens."""
    there = mask[:, :, None].to(states.dtype)
    lengths = there.sum(dim=1).clamp_min(1)
    if mode == "cls":
        return states[:, 0]
    if mode == "lasttoken":
        last = (mask.sum(dim=1) - 1).clamp_min(0)
        return states[torch.arange(len(states), device=states.device), last]
    if mode == "max":
        return states.masked_fill(there == 0, float("-inf")).amax(dim=1)
    if mode == "weightedmean":
        places = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
        weights = there * places[None, :, None]
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
    sums = (states * there).sum(dim=1)
    return sums / (lengths.sqrt() if mode == "mean_sqrt_len_tokens" else lengths)


def read_model(layout: Layout, folder: Path, cure: str) -> SentenceModel:
    """Read the weights, from safetensors only and without any code of the folder's.

    Args:
        layout: Of the folder.
        folder: For the error.
        cure: What to do where it cannot be read.

    Raises:
        ModelError: A file is missing or damaged, or the architecture is no encoder.
    """
    from transformers import AutoModel

    if layout.config.get("is_encoder_decoder"):
        kind = layout.config.get("model_type")
        raise ModelError(f"{folder} is a {kind}, which reads and writes", "Use an encoder alone")
    try:
        with quiet():
            transformer, found = AutoModel.from_pretrained(
                layout.transformer,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]
        if missing:
            raise ValueError(f"no weight {sorted(missing)[0]}")
        layers = [_dense(one) for one in layout.projections]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded ({reason})", cure) from error
    return SentenceModel(transformer, layout, layers).eval()


def _dense(projection: Projection) -> torch.nn.Module:
    weights = load_file(projection.weights)
    matrix = weights["linear.weight"]
    linear = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias="linear.bias" in weights)
    linear.load_state_dict({key.removeprefix("linear."): one for key, one in weights.items()})
    activation: torch.nn.Module = getattr(torch.nn, projection.activation)()
    return torch.nn.Sequential(linear, activation)


def read_tokenizer(layout: Layout) -> Any:
    """A `tokenizers.Tokenizer` that pads nothing and cuts texts that are too long.

    Raises:
        ModelError: It cannot be read.
    """
    from tokenizers import Tokenizer

    path = layout.transformer / "tokenizer.json"
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            with quiet():
                slow = AutoTokenizer.from_pretrained(layout.transformer, trust_remote_code=False)
            tokenizer = Tokenizer.from_str(slow.backend_tokenizer.to_str())
    except Exception as error:  # tokenizers raises a bare Exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the tokenizer of {layout.transformer} cannot be loaded ({reason})",
            "Fetch the encoder anew",
        ) from error
    # A file may ask for padding every text to a fixed length, which would be most of the work.
    tokenizer.no_padding()
    tokenizer.enable_truncation(layout.max_tokens)
    return tokenizer
