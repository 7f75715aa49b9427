"""Zero-shot ranking by a language model that is asked for an order, over any OpenAI-like API."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml
from numpy.typing import NDArray

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError
from instructrec.evaluation.baselines.base import Input
from instructrec.hashing import stable_hash
from instructrec.instructions.schema import Instruction
from instructrec.instructions.teachers.base import Answer, Completions, Message, Prompt
from instructrec.protocols import Rows, Scores

if TYPE_CHECKING:
    from instructrec.instructions.teachers.cache import AnswerCache, Asked

LATEST = 19
"""Items of a history that are shown, as in the corpus: 20 less the target (paper §4.1)."""
MAX_TOKENS = 400
_AT_ONCE = 64
_SLOTS = {
    "version": set(),
    "system": set(),
    "history": {"items"},
    "preference": {"text"},
    "wish": {"text"},
    "ask": {"items", "count"},
}
_SLOT = re.compile(r"\{([a-z]+)\}")
_MARKED = re.compile(r"\[(\d+)\]|(?<![\w.])(\d+)(?=\s*[>,\n]|\s*$)")


class ZeroShot:
    """Ranks by the order a language model writes down.

    Each request is sent once. Whatever comes back is taken as it is: candidates that it does not
    name keep the order they were given in, behind those it does, and so do all where there is no
    answer at all. It is never asked again because an answer is bad: the public evaluation of
    GPT-3.5 asked again when the target was missing, which tells the model where it is.

    Candidates are numbered in an order drawn from the request and the candidates alone, so that
    the target's place tells nothing and no order a caller gives matters.

    Source: paper §4.1, the GPT-3.5 rows; Hou et al. 2024, "Large Language Models are Zero-Shot
    Rankers for Recommender Systems".

    Args:
        completions: Who is asked: `instructrec.instructions.teachers.openai.OpenAICompletions` for
            any server with that API, or a model in memory.
        catalogue: The items, shown by their titles.
        wording: A file as ``prompts/rank.yaml``, read; that one when left out.
        cache: Where answers are kept, so that none is paid for twice.
        seed: Another seed numbers the candidates in another order.
    """

    reads: ClassVar[frozenset[Input]] = frozenset({"history", "words"})

    def __init__(
        self,
        completions: Completions,
        catalogue: Catalogue,
        *,
        wording: dict[str, str] | None = None,
        cache: AnswerCache | None = None,
        seed: int = 0,
    ) -> None:
        self.name = f"zero-shot {completions.name}"
        self.catalogue = catalogue
        self.completions, self.cache, self.seed = completions, cache, seed
        self.wording = checked(wording) if wording is not None else default_wording()
        self.told: Counter[str] = Counter()
        """Requests, tokens, and how many answers were whole, partial or none at all."""

    def score(self, instructions: Sequence[Instruction], candidates: Rows) -> Scores:
        """See `instructrec.protocols.Scorer.score`; the first gets the highest whole number."""
        scores = np.full(candidates.shape, -np.inf, dtype=np.float32)
        for start in range(0, len(instructions), _AT_ONCE):
            chunk = slice(start, start + _AT_ONCE)
            places = [
                self._shown(one, rows)
                for one, rows in zip(instructions[chunk], candidates[chunk], strict=True)
            ]
            lists = zip(instructions[chunk], candidates[chunk], places, strict=True)
            prompts = [self.prompt(one, rows[shown]) for one, rows, shown in lists]
            answers = self._answers(prompts)
            for number, (shown, answer) in enumerate(zip(places, answers, strict=True), start):
                order = self._order(answer, candidates[number][shown])
                best_first = shown[order]
                scores[number, best_first] = np.arange(len(best_first), 0, -1)
        return scores

    def prompt(self, instruction: Instruction, rows: Rows) -> Prompt:
        """What is sent for one request.

        Args:
            instruction: The request.
            rows: (candidates,) catalogue rows, in the order they are numbered.
        """
        titles = [self.catalogue.titles[row] for row in rows.tolist()]
        preference, wish = instruction.preference, instruction.intention.text
        parts = []
        if preference.history:
            shown = [f"- {_line(title)}" for title in preference.history[-LATEST:]]
            parts.append(_filled(self.wording["history"], items="\n".join(shown)))
        if preference.text:
            parts.append(_filled(self.wording["preference"], text=_line(preference.text)))
        if wish:
            parts.append(_filled(self.wording["wish"], text=_line(wish)))
        numbered = [f"[{number}] {_line(title)}" for number, title in enumerate(titles, 1)]
        count = str(len(titles))
        parts.append(_filled(self.wording["ask"], items="\n".join(numbered), count=count))
        turns = (
            Message("system", self.wording["system"]),
            Message("user", "\n\n".join(parts)),
        )
        return Prompt(turns, MAX_TOKENS + 8 * len(titles))

    def _shown(self, instruction: Instruction, rows: Rows) -> NDArray[np.int64]:
        """Places of the candidates in the order in which they are numbered."""
        there = np.flatnonzero(rows >= 0)
        request = (instruction.user_id, instruction.intention.text, *instruction.preference.history)
        names = [self.catalogue.item_ids[row] for row in rows[there].tolist()]
        keys = [stable_hash("shown", self.seed, *request, name) for name in names]
        return there[np.lexsort((rows[there], np.array(keys, dtype=np.int64)))]

    def _order(self, answer: Answer, rows: Rows) -> NDArray[np.int64]:
        """Numbers of the shown candidates, best first, all of them."""
        titles = [self.catalogue.titles[row] for row in rows.tolist()]
        named = [] if answer.error else parse_order(answer.text, titles)
        kind = "whole" if len(named) == len(titles) else "partial" if named else "none"
        self.told.update({"requests": 1, kind: 1})
        rest = [number for number in range(len(titles)) if number not in named]
        return np.array([*named, *rest], dtype=np.int64)

    def _answers(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """One answer a prompt, each from the cache or asked for once."""
        found: dict[int, Answer] = {}
        asked: list[Asked] = []
        if self.cache is not None:
            asked = [self._asked(prompt) for prompt in prompts]
            known = self.cache.get(asked)
            found = {at: known[one.key] for at, one in enumerate(asked) if one.key in known}
        new = [at for at in range(len(prompts)) if at not in found]
        for number, answer in self.completions.complete([prompts[at] for at in new]):
            at = new[number]
            found[at] = answer
            tokens = {"prompt tokens": answer.prompt_tokens, "tokens": answer.completion_tokens}
            self.told.update({"sent": 1, **tokens})
            if self.cache is not None and not answer.error:
                self.cache.put([(asked[at], answer)])
        return [found.get(at, Answer("", error="no answer")) for at in range(len(prompts))]

    def _asked(self, prompt: Prompt) -> Asked:
        from instructrec.instructions.teachers.cache import Asked

        completions = self.completions
        version = f"rank {self.wording['version']}"
        return Asked(completions.name, version, completions.parameters, prompt)


def parse_order(text: str, titles: Sequence[str]) -> list[int]:
    """Which candidates an answer names, best first, each once.

    Read as what it looks like first: a JSON list of numbers or titles (in an object or alone),
    numbers in square brackets or joined by ``>``, else lines that hold a title each. Numbers that
    no candidate has are passed over.

    Args:
        text: The answer.
        titles: Of the candidates, in the order they were numbered, from 1.

    Returns:
        Numbers counted from 0.
    """
    listed = _json_list(text)
    if listed is not None:
        found = [_number_of(value, titles) for value in listed]
    else:
        by_title = [_title_in(line, titles) for line in text.splitlines()]
        if any(number is not None for number in by_title):
            found = by_title
        else:
            numbers = (first or second for first, second in _MARKED.findall(text))
            found = [int(number) - 1 for number in numbers]
    within = [at for at in found if at is not None and 0 <= at < len(titles)]
    return list(dict.fromkeys(within))


def _json_list(text: str) -> list[Any] | None:
    """The first list in the first JSON value of a text; none where there is none."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"[\[{]", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        if isinstance(value, dict):
            value = next((inner for inner in value.values() if isinstance(inner, list)), None)
        # "[3] > [1]" is no list but a chain of marks.
        if isinstance(value, list) and (len(value) > 1 or match.group() == "{"):
            return value
    return None


def _number_of(value: Any, titles: Sequence[str]) -> int | None:
    """The candidate that an entry of a list means."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value - 1
    if not isinstance(value, str):
        return None
    digits = re.fullmatch(r"\W*(\d+)\W*", value)
    return int(digits.group(1)) - 1 if digits else _title_in(value, titles)


def _title_in(text: str, titles: Sequence[str]) -> int | None:
    """The candidate whose title stands in a text, the longest where there are several."""
    words = f" {_plain(text)} "
    inside = [
        (len(plain), -number)
        for number, title in enumerate(titles)
        if (plain := _plain(title)) and f" {plain} " in words
    ]
    return -max(inside)[1] if inside else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def _filled(template: str, **values: str) -> str:
    """A template with its slots filled once: a title in braces stays a title in braces."""
    return _SLOT.sub(lambda match: values.get(match.group(1), match.group()), template)


@lru_cache
def default_wording() -> dict[str, str]:
    """The wording that is shipped."""
    path = files("instructrec.evaluation.baselines") / "prompts" / "rank.yaml"
    return checked(yaml.safe_load(path.read_text(encoding="utf-8")))


def checked(wording: Any) -> dict[str, str]:
    """A wording whose keys and slots are those that are filled.

    Raises:
        DataError: A key or a slot is missing.
    """
    for name, slots in _SLOTS.items():
        text = wording.get(name) if isinstance(wording, dict) else None
        missing = slots - set(_SLOT.findall(text)) if isinstance(text, str) else {"its text"}
        if missing:
            raise DataError(
                f"the wording of a ranking lacks {', '.join(sorted(missing))} under {name!r}",
                "Compare it with prompts/rank.yaml",
            )
    return dict(wording)


def tell(told: Counter[str]) -> Iterator[str]:
    """What happened, a line a fact, for a report's notes."""
    if requests := told["requests"]:
        yield (
            f"{requests:,} requests: {told['whole']:,} answers named all candidates, "
            f"{told['partial']:,} some, {told['none']:,} none; what was not named kept its place "
            "behind, and nothing was asked again."
        )
