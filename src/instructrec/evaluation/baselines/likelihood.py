"""Zero-shot ranking by the likelihood a pretrained model gives each candidate, untuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from instructrec.data.catalogue import Catalogue
from instructrec.errors import InstructRecError
from instructrec.evaluation.baselines.base import Input, UnavailableError
from instructrec.instructions.schema import Instruction
from instructrec.protocols import Rows, Scorer, Scores

MODEL = "smollm2-135m-instruct"
"""What is asked where nothing else is named."""


class ZeroShotLikelihood:
    """A pretrained model that was never tuned, asked as ours is.

    The prompt is the first template of the scenario; the score is the log-likelihood of the title
    less that without the user, the only rule by which such a model is any good here
    (docs/paper.md §7).

    Args:
        ranker: The model with templates and rule.
        name: Of the model.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history", "words"})

    def __init__(self, ranker: Scorer, name: str = MODEL) -> None:
        self.name = f"zero-shot {name}"
        self._ranker = ranker

    @classmethod
    def load(cls, model: str | Path, catalogue: Catalogue, *, device: str = "cpu") -> Self:
        """Load a model that was pulled, or a folder; without a scoring.json of its own.

        Raises:
            UnavailableError: It is not on this machine.
        """
        from instructrec.ranking.ranker import Ranker

        try:
            ranker = Ranker.load(model, catalogue, device=device)
        except InstructRecError as error:
            raise UnavailableError(
                f"The row zero-shot {model} is left out: {error.what}",
                f"Pull it by instructrec models pull {MODEL}",
            ) from None
        return cls(ranker, Path(model).name)

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`."""
        return self._ranker.score(instructions, candidates)
