"""The Ranker: instructions and candidates to scores, by the likelihood of a tuned model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instructrec.backbones import Backbone, load
from instructrec.data.catalogue import Catalogue
from instructrec.errors import FolderError, UsageError
from instructrec.instructions.schema import Instruction, Scenario, TaskForm
from instructrec.instructions.templating import Rendered, Template, TemplateBank, render
from instructrec.protocols import Rows, Scores
from instructrec.ranking.catalogue_tree import TREE
from instructrec.ranking.likelihood import Likelihood
from instructrec.ranking.long_history import ChunkMemories, ChunkReader, spell
from instructrec.ranking.matching import BEAM, Allowed, CatalogueSearch, Found
from instructrec.ranking.ordering import arrangements
from instructrec.ranking.scoring import SCORING, ScoringConfig

Floats = NDArray[np.float64]

_YES_NO = ("Yes", "No")
_BATCH = 1024
"""Instructions whose texts and ids are held at once, and"""
_TEXTS = 65_536
"""candidates of theirs; both bound the memory of long evaluations."""


class Ranker:
    """Ranks items of a catalogue by what a language model says of them.

    The candidates are left out of the prompt, so that their order cannot matter; with
    ``scoring.list_candidates`` they are listed, in ``scoring.orders`` orders. Of a history only
    the latest ``scoring.spelled`` titles are told, if it is set, however many there are.

    Args:
        backbone: The language model.
        catalogue: Whose rows the candidates are.
        bank: The templates.
        scoring: The rule and the template of each scenario.
        tree_file: Where the catalogue's prefix tree is, or will be, saved; nowhere when left out.

    Example:
        ``Ranker.load(Path("runs/demo/model"), dataset.catalogue).rank(instructions, candidates)``
    """

    name = "lm"

    def __init__(
        self,
        backbone: Backbone,
        catalogue: Catalogue,
        bank: TemplateBank | None = None,
        scoring: ScoringConfig | None = None,
        tree_file: Path | None = None,
    ) -> None:
        self.backbone = backbone
        self._tree_file = tree_file
        self.catalogue = catalogue
        self.bank = bank or TemplateBank.load()
        self.scoring = _checked(scoring or ScoringConfig(), self.bank)
        self.likelihood = Likelihood(
            backbone,
            self.scoring.rule,
            self.scoring.pmi_weight,
            self.scoring.null_prompt,
            self.scoring.max_tokens,
        )

    @classmethod
    def load(
        cls,
        model: Path | str,
        catalogue: Catalogue,
        bank: TemplateBank | None = None,
        dtype: str = "float32",
        device: str = "auto",
        memory: float | None = None,
    ) -> Ranker:
        """Load a model folder, or any checkpoint `backbones.load` takes.

        Args:
            model: A folder with scoring.json; without one `ScoringConfig.untuned` holds.
            catalogue: Whose rows the candidates are.
            bank: The templates; the packaged ones when left out.
            dtype: See `backbones.load`.
            device: See `backbones.load`.
            memory: See `backbones.load`.

        Raises:
            ModelError: The model cannot be loaded.
            FolderError: Its scoring.json is damaged or names an unknown template.
            UsageError: There is no such folder, dtype or device.
        """
        tree_file = Path(model) / TREE if Path(model).is_dir() else None
        backbone = load(model, dtype, device, memory)
        return cls(backbone, catalogue, bank, load_scoring(model), tree_file)

    def over(self, catalogue: Catalogue) -> Ranker:
        """The same model over other items; its weights are shared."""
        return Ranker(self.backbone, catalogue, self.bank, self.scoring)

    @property
    def lists_candidates(self) -> bool:
        """Whether prompts list the candidates, so that the order given may matter."""
        return self.scoring.list_candidates

    @property
    def scores_apart(self) -> bool:
        """Whether a candidate's score does not depend on which others are scored with it."""
        reads_apart = getattr(self.backbone, "reads_apart", True)
        listed = self.scoring.list_candidates or self.scoring.rule == "constrained"
        return reads_apart and not listed

    @cached_property
    def older(self) -> ChunkReader:
        """Reads what a history has beyond the titles spelled out (``scoring.long_history``)."""
        if self.scoring.spelled is None:
            raise UsageError(f"there are no older titles: {SCORING} has no spelled", "Set it")
        memories = ChunkMemories(self.backbone, self.scoring.chunk_memory)
        return ChunkReader(self.likelihood, memories, self.render, self.scoring.spelled)

    @cached_property
    def titles(self) -> list[str]:
        """Titles by row as prompts have them: on one line."""
        return [" ".join(title.split()) for title in self.catalogue.titles]

    def template(self, scenario: Scenario, asks: str = "item") -> Template | None:
        """The template a scenario is asked by, None when nothing covers it.

        The one of scoring.json, else the first that covers the scenario and asks directly, else
        one that covers a part of what is known.
        """
        for wanted in (scenario, *_simpler(scenario)):
            named = self.scoring.templates.get(str(wanted))
            if named is not None and self.bank[named].asks == asks:
                return self.bank[named]
            if found := self.bank.covering(wanted, strategy="direct", asks=asks):
                return found[0]
        return None

    def render(self, instruction: Instruction) -> Rendered:
        """What the model reads when it ranks by this instruction.

        Raises:
            UsageError: No template covers its scenario (nothing is known of the request).
        """
        rendered = self._render(_reranking(instruction))
        if rendered is None:
            raise UsageError(
                f"no template asks {instruction.scenario} for an item",
                "Give a history, a preference or a wish",
            )
        return rendered

    def _render(self, instruction: Instruction) -> Rendered | None:
        template = self.template(instruction.scenario)
        if template is None:
            return None
        if not self.scoring.list_candidates:
            instruction = replace(instruction, candidates=())
        return render(template, spell(instruction, self.scoring.spelled))

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `protocols.Scorer.score`.

        Raises:
            UsageError: A row is not in the catalogue, or there is not one list an instruction.
            ModelError: A likelihood is not a number.
        """
        self._check_rows(instructions, candidates)
        batch = max(min(_BATCH, _TEXTS // max(candidates.shape[1], 1)), 1)
        parts = [
            self._score(instructions[start : start + batch], candidates[start : start + batch])
            for start in range(0, len(instructions), batch)
        ]
        return np.concatenate([np.zeros((0, candidates.shape[1]), np.float32), *parts])

    def _check_rows(self, instructions: Sequence[Instruction], candidates: Rows) -> None:
        if candidates.ndim != 2 or len(candidates) != len(instructions):
            raise UsageError(
                f"{len(instructions)} instructions came with candidates of shape "
                f"{candidates.shape}",
                "Give one list of catalogue rows an instruction",
            )
        if candidates.dtype.kind not in "iu":
            raise UsageError("candidates are not row numbers", "Give whole numbers")
        wrong = candidates[(candidates < -1) | (candidates >= len(self.catalogue))]
        if wrong.size:
            raise UsageError(
                f"there is no row {int(wrong[0])} in a catalogue of {len(self.catalogue):,} items",
                "Give rows of this catalogue, -1 for no candidate",
            )

    def _score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        scores = np.where(candidates >= 0, 0.0, -np.inf).astype(np.float32)
        asked = [
            line
            for line, one in enumerate(instructions)
            if self.template(_reranking(one).scenario) is not None
        ]
        rows = [candidates[line][candidates[line] >= 0] for line in asked]
        found = self._likelihoods([_reranking(instructions[line]) for line in asked], rows)
        for line, values in zip(asked, found, strict=True):
            scores[line, candidates[line] >= 0] = values
        return scores

    def _likelihoods(
        self, instructions: Sequence[Instruction], rows: Sequence[Rows]
    ) -> list[Floats]:
        """Scores of each instruction's rows, averaged over the orders in which they are listed."""
        texts = [[self.titles[row] for row in line] for line in rows]
        if not self.scoring.list_candidates:
            found = self.likelihood.score_texts([self.render(one) for one in instructions], texts)
            if self.scoring.long_history == "chunks":
                weight = self.scoring.chunk_weight
                for line, one in enumerate(instructions):
                    found[line] = found[line] + weight * self.older.gains(one, texts[line])
            return found
        orders = [arrangements(line, self.scoring.orders) for line in rows]
        listed = [
            (line, tuple(self.titles[row] for row in order))
            for line, several in enumerate(orders)
            for order in several
        ]
        prompts = [
            self.render(replace(instructions[line], candidates=titles)) for line, titles in listed
        ]
        found = self.likelihood.score_texts(prompts, [texts[line] for line, _ in listed])
        totals = [np.zeros(len(line)) for line in rows]
        for (line, _), values in zip(listed, found, strict=True):
            totals[line] += values
        return [total / len(several) for total, several in zip(totals, orders, strict=True)]

    def rank(self, instructions: Sequence[Instruction], candidates: Rows) -> Rows:
        """Candidates best first, ties by smaller row, -1 last.

        Args:
            instructions: n requests.
            candidates: (n, candidates) catalogue rows, -1 where a list is shorter.
        """
        scores = self.score(instructions, candidates)
        order = np.lexsort((candidates, -scores), axis=-1)
        return np.take_along_axis(candidates, order, axis=-1)

    def judge(self, instructions: Sequence[Instruction], titles: Sequence[str]) -> Floats:
        """How likely each title is right for its instruction (T0).

        Args:
            instructions: n requests.
            titles: n titles.

        Returns:
            (n,) probability of "Yes" among "Yes" and "No".

        Raises:
            UsageError: No T0 template covers an instruction.
        """
        prompts = [
            self._ask(replace(one, task=TaskForm.POINTWISE, candidates=(title,)), "yes-no")
            for one, title in zip(instructions, titles, strict=True)
        ]
        found = self._plain.score_texts(prompts, [_YES_NO] * len(prompts), "yes-no")
        return np.array([_share(values)[0] for values in found])

    def compare(
        self, instructions: Sequence[Instruction], pairs: Sequence[Sequence[str]]
    ) -> Floats:
        """How likely the first title of each pair is chosen over the second (T1).

        Each pair is asked in both orders and the two answers are averaged, so that naming the
        titles the other way round gives exactly one minus the probability.

        Args:
            instructions: n requests.
            pairs: n pairs of titles.

        Returns:
            (n,) probabilities.

        Raises:
            UsageError: No T1 template covers an instruction.
        """
        prompts, answers = [], []
        for one, pair in zip(instructions, pairs, strict=True):
            for order in (tuple(pair), tuple(pair[::-1])):
                asked = replace(one, task=TaskForm.PAIRWISE, candidates=order)
                prompts.append(self._ask(asked, "which"))
                answers.append(tuple(pair))
        found = self.likelihood.score_texts(prompts, answers, "which")
        shares = np.array([_share(values)[0] for values in found])
        return np.asarray(shares.reshape(-1, 2).mean(axis=1))

    def find(
        self,
        instruction: Instruction,
        k: int = 1,
        allowed: Allowed = None,
        beam: int = BEAM,
    ) -> tuple[Rows, Scores]:
        """The best items of the whole catalogue (T2); see `find_many`.

        Args:
            instruction: One request.
            k: How many items; fewer come back only where fewer are allowed.
            allowed: (items,) which rows may be answered; all when left out.
            beam: How many beginnings of titles are followed at a time.

        Returns:
            Rows best first (ties by smaller row) and their scores by the model's rule.

        Raises:
            UsageError: No template covers the instruction.
        """
        (found,) = self.find_many([instruction], k, [allowed], beam)
        return found.rows, found.scores

    def find_many(
        self,
        instructions: Sequence[Instruction],
        k: int = 1,
        allowed: Sequence[Allowed] | None = None,
        beam: int = BEAM,
    ) -> list[Found]:
        """The best items of the whole catalogue for many requests (T2).

        Titles are followed from their beginnings along the prefix tree of the catalogue, the
        likeliest first, until k are certain; where that takes too long, as a beam search.

        Args:
            instructions: n requests.
            k: How many items each gets; fewer only where fewer are allowed.
            allowed: n times (items,) which rows may be answered, None where all may.
            beam: How many beginnings of titles are followed at a time.

        Raises:
            UsageError: No template covers an instruction.
        """
        asked = [replace(one, task=TaskForm.MATCHING, candidates=()) for one in instructions]
        return self.search.find_many([self.question(one) for one in asked], k, allowed, beam)

    @cached_property
    def search(self) -> CatalogueSearch:
        """The search of the whole catalogue; its tree is read, or made, at first use."""
        return CatalogueSearch(self.likelihood, self.titles, self._tree_file)

    @cached_property
    def _plain(self) -> Likelihood:
        return Likelihood(self.backbone, "sum", max_tokens=self.scoring.max_tokens)

    def question(self, instruction: Instruction) -> Rendered:
        """What the model reads when it is asked in the instruction's own task form.

        Args:
            instruction: One request; a judgement (T0) has its item among the candidates, a
                comparison (T1) both.

        Raises:
            UsageError: No template covers the instruction.
        """
        if instruction.task is TaskForm.POINTWISE:
            return self._ask(instruction, "yes-no")
        if instruction.task is TaskForm.PAIRWISE:
            return self._ask(instruction, "which")
        if instruction.task is TaskForm.MATCHING:
            matching = replace(instruction, candidates=())
            template = self.template(matching.scenario)
            if template is not None:
                return render(template, spell(matching, self.scoring.spelled))
        return self.render(instruction)

    def _ask(self, instruction: Instruction, asks: str) -> Rendered:
        template = self.template(instruction.scenario, asks)
        if template is None:
            raise UsageError(
                f"no template asks {instruction.scenario} for {asks}",
                "Give a history, a preference or a wish",
            )
        return render(template, spell(instruction, self.scoring.spelled))


def _checked(scoring: ScoringConfig, bank: TemplateBank) -> ScoringConfig:
    """``scoring`` if all its templates are in the bank."""
    for scenario, name in scoring.templates.items():
        if name not in bank:
            raise FolderError(
                f"the model's {SCORING} asks {scenario} by the template {name!r}, which is not "
                "among the templates",
                "Tune the model again, or name another there",
            )
    return scoring


def load_scoring(model: Path | str) -> ScoringConfig:
    """The scoring.json of a model folder, `ScoringConfig.untuned` where there is none."""
    folder = Path(model)
    return ScoringConfig.load(folder) if (folder / SCORING).is_file() else ScoringConfig.untuned()


def _reranking(instruction: Instruction) -> Instruction:
    """The same request as one that chooses among candidates."""
    if instruction.task in (TaskForm.RERANKING, TaskForm.MATCHING):
        return instruction
    return replace(instruction, task=TaskForm.RERANKING, candidates=())


def _simpler(scenario: Scenario) -> list[Scenario]:
    """Scenarios that leave a part of what is known aside, nearest first."""
    (preference,), (intention,), (task,) = scenario.axes
    intentions = [intention, *({"I1": "I2", "I2": "I1"}.get(intention, ""),)]
    preferences = [preference, *(preference.split("+") if "+" in preference else ())]
    if intention != "I0" and preference != "P0":
        preferences.append("P0")
    return [Scenario(((p,), (i,), (task,))) for p in preferences for i in intentions if i][1:]


def _share(scores: Floats) -> Floats:
    odds = np.exp(scores - scores.max())
    return np.asarray(odds / odds.sum())
