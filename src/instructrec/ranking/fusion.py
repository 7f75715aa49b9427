"""Fusion: the score of an item as a weighted sum of named pieces of evidence.

``score(i) = Σ_piece weight · (x_piece(i) - mean over the list) / scale``. Weights are those of a
listwise logistic regression (a softmax over each list, the target the right answer) on validation
requests only, each at least 0, one set per kind of request (what is known: ``P,I0``, ``P0,I``,
``P,I``). A piece that says nothing about a request, equal scores, adds nothing to it.

Source: docs/fusion.md; the linear mixes of docs/paper.md §7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from instructrec.errors import FolderError
from instructrec.folders import read_json
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores

KNOWN = ("P,I0", "P0,I", "P,I")
"""The kinds of request that have weights of their own (`Instruction.known`)."""
WITHOUT_LM = "without_lm"
RETRIEVAL = "retrieval"
"""Where fusion.json keeps what each retriever's places count (`instructrec.retrieval.shares`)."""
COUNTS = frozenset({"popularity", "neighbours", "shared"})
"""Pieces that add up things without a bound: their logarithm is what adds up with the others."""
L2 = 1e-3


@dataclass(frozen=True)
class Piece:
    """What one piece of evidence counts: ``weight`` for each ``scale`` of its score."""

    weight: float
    scale: float


Weights = Mapping[str, Mapping[str, Piece]]
"""By what is known, by the name of the piece."""

_STRANGER: Mapping[str, Piece] = {"popularity": Piece(1.0, 1.0)}
"""Who says nothing and of whom nothing is known gets what most people take."""


def prepare(name: str, scores: Scores) -> NDArray[np.float64]:
    """A piece's scores as they enter the sum: logarithms of counts, centred in each list.

    Args:
        name: Of the piece.
        scores: (n, candidates), ``-inf`` where there is no candidate.

    Returns:
        (n, candidates) float64 with mean 0 over each list's candidates, 0 where there is none.
    """
    there = np.isfinite(scores)
    values = np.where(there, scores, 0.0).astype(np.float64)
    if name in COUNTS:
        values = np.sign(values) * np.log1p(np.abs(values))
    # Sorted before it is summed, so that the order of the candidates cannot matter.
    total = np.sort(values, axis=1).sum(axis=1, keepdims=True)
    mean = total / np.maximum(there.sum(axis=1, keepdims=True), 1)
    return np.where(there, values - mean, 0.0)


def fit_fusion(pieces: Mapping[str, Scores], *, l2: float = L2) -> dict[str, Piece]:
    """Fit the weights of one kind of request.

    Args:
        pieces: Scores of each piece, (n, candidates); the target stands in column 0, ``-inf``
            where a list has no candidate.
        l2: Strength of the pull towards 0.

    Returns:
        Weight and scale of each piece; weight 0 for one that says nothing. The scale is the
        standard deviation of the piece's centred scores.
    """
    names = list(pieces)
    first = pieces[names[0]]
    there = np.isfinite(first)
    centred = [prepare(name, pieces[name]) for name in names]
    scales = [_scale(values, there) for values in centred]
    features = np.stack(
        [values / (scale or 1.0) for values, scale in zip(centred, scales, strict=True)], axis=-1
    )
    usable = there[:, 0] & (there.sum(axis=1) > 1)
    weights = _fit_weights(features[usable], there[usable], l2)
    return {
        name: Piece(float(weight), scale) if scale else Piece(0.0, 1.0)
        for name, weight, scale in zip(names, weights, scales, strict=True)
    }


def _scale(values: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    """Standard deviation of the candidates' values; 0 where the piece says nothing at all."""
    spread = float(values[there].std()) if there.any() else 0.0
    return spread if spread > 1e-12 else 0.0


def _fit_weights(
    features: NDArray[np.float64], there: NDArray[np.bool_], l2: float
) -> NDArray[np.float64]:
    """Bounded L-BFGS on the mean listwise cross-entropy; features are (n, candidates, pieces)."""
    count = features.shape[2]
    if not len(features):
        return np.zeros(count)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.where(there, features @ weights, -np.inf)
        top = logits.max(axis=1, keepdims=True)
        odds = np.exp(logits - top)
        norm = odds.sum(axis=1, keepdims=True)
        nll = float(np.mean(top[:, 0] + np.log(norm[:, 0]) - logits[:, 0]))
        expected = np.einsum("nc,ncp->np", odds / norm, features)
        gradient = np.mean(expected - features[:, 0], axis=0) + l2 * weights
        return nll + 0.5 * l2 * float(weights @ weights), gradient

    start = np.full(count, 0.1)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * count)
    return np.asarray(result.x, dtype=np.float64)


class Fusion:
    """All evidence together; a `Scorer` named ``instructrec``.

    Args:
        pieces: Scorers by the name of the piece; one that is missing here adds nothing.
        weights: See `Weights`.
        name: The name in reports.
    """

    def __init__(
        self, pieces: Mapping[str, Scorer], weights: Weights, name: str = "instructrec"
    ) -> None:
        self.name = name
        self.pieces = dict(pieces)
        self.weights = weights

    @property
    def lists_candidates(self) -> bool:
        """Whether a piece does, so that the order given may matter."""
        return any(getattr(one, "lists_candidates", False) for one in self.pieces.values())

    @classmethod
    def load(cls, path: Path, pieces: Mapping[str, Scorer], *, without_lm: bool = False) -> Fusion:
        """Read fusion.json.

        Args:
            path: The file of a run.
            pieces: See `Fusion`.
            without_lm: Take the weights that were fitted without the language model; the scorer
                is then named ``fused-without-lm``.

        Raises:
            FolderError: The file is missing or lacks what is asked for.
        """
        content = read_json(path)
        try:
            chosen = content[WITHOUT_LM] if without_lm else content
            weights = {
                known: {name: Piece(**piece) for name, piece in chosen[known].items()}
                for known in KNOWN
                if known in chosen
            }
        except (KeyError, TypeError):
            raise FolderError(f"{path} holds no fusion weights", "Run build again") from None
        if without_lm:
            return cls({k: v for k, v in pieces.items() if k != "lm"}, weights, "fused-without-lm")
        return cls(pieces, weights)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; the sum of what `explain` tells."""
        total = np.zeros(candidates.shape, dtype=np.float64)
        for _, values in sorted(self.explain(instructions, candidates).items()):
            total += values
        return np.where(candidates < 0, -np.inf, total).astype(np.float32)

    def explain(
        self, instructions: Sequence[Instruction], candidates: Rows
    ) -> dict[str, NDArray[np.float64]]:
        """What each piece adds to each candidate's score.

        Args:
            instructions: n requests.
            candidates: (n, candidates) catalogue rows.

        Returns:
            Piece → (n, candidates), in order of name; only pieces that have weight somewhere.
        """
        told: dict[str, NDArray[np.float64]] = {}
        for weights, numbers in self._groups(instructions):
            chosen = [instructions[number] for number in numbers]
            for name, piece in weights.items():
                if piece.weight <= 0 or name not in self.pieces:
                    continue
                scores = self.pieces[name].score(chosen, candidates[numbers])
                values = told.setdefault(name, np.zeros(candidates.shape))
                values[numbers] = prepare(name, scores) * (piece.weight / piece.scale)
        return dict(sorted(told.items()))

    def counting(self, instruction: Instruction) -> frozenset[str]:
        """Names of the pieces that have weight for a request."""
        ((weights, _),) = self._groups([instruction])
        return frozenset(
            name for name, piece in weights.items() if piece.weight > 0 and name in self.pieces
        )

    def _groups(
        self, instructions: Sequence[Instruction]
    ) -> Iterator[tuple[Mapping[str, Piece], NDArray[np.int64]]]:
        """Requests of one kind together, with the weights of that kind."""
        kinds: dict[str, list[int]] = {}
        for number, instruction in enumerate(instructions):
            nothing = instruction.known == "P,I0" and instruction.preference.form == "P0"
            kinds.setdefault("" if nothing else instruction.known, []).append(number)
        for known, numbers in sorted(kinds.items()):
            weights = self.weights.get(known, _STRANGER) if known else _STRANGER
            yield weights, np.array(numbers, dtype=np.int64)


def fusion_content(weights: Weights, without_lm: Weights, facts: Mapping[str, Any]) -> Any:
    """fusion.json as plain values.

    Args:
        weights: Of all pieces.
        without_lm: Fitted anew without the language model.
        facts: Further entries, such as what made it.
    """
    return {**_plain(weights), WITHOUT_LM: _plain(without_lm), **facts}


def _plain(weights: Weights) -> dict[str, dict[str, dict[str, float]]]:
    return {
        known: {
            name: {"weight": piece.weight, "scale": piece.scale} for name, piece in pieces.items()
        }
        for known, pieces in weights.items()
    }
