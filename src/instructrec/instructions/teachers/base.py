"""What every teacher is asked and what it answers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class ItemFacts:
    """What is known of an item, and of one user's dealing with it.

    Attributes:
        title: Never to be repeated in an answer.
        categories: From broad to narrow.
        brand: Empty when unknown.
        description: Empty when unknown.
        attributes: Further facts as (name, value), such as ``("platform", "Wii")``.
        price: In the catalogue's currency; none when unknown.
        rating: The user's, 1 to 5; none when unknown.
        review: The user's; empty when there is none.
    """

    title: str
    categories: tuple[str, ...] = ()
    brand: str = ""
    description: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    price: float | None = None
    rating: float | None = None
    review: str = ""


@dataclass(frozen=True)
class Ask:
    """One text wanted.

    Attributes:
        kind: ``preference`` (P2) or ``intention`` (I1, I1*, I2).
        view: ``overall``, ``long_term``, ``short_term``; ``what_i_want``, ``what_it_is_like``,
            ``specific`` (labels and limits) or ``query`` (what one would type into a search box).
        user_id: Whose it is; none for what holds for anybody.
        item_id: The item an intention is about.
        split: The split whose requests may know the text.
        history: What a preference is made from, oldest first.
        item: The item an intention is about.
        review: The user's review of it.
        seed: For whatever the teacher draws.
    """

    kind: Literal["preference", "intention"]
    view: str
    user_id: str | None = None
    item_id: str | None = None
    split: str | None = None
    history: tuple[ItemFacts, ...] = ()
    item: ItemFacts | None = None
    review: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """What a teacher answered to one `Ask`.

    Attributes:
        text: ``""`` where nothing can be said.
        by: Whose words these are: the teacher's name, or ``rules`` where a model's answers could
            not be used and rules wrote in its place.
    """

    text: str
    by: str


class Teacher(Protocol):
    """Who writes preferences and intentions.

    Attributes:
        name: ``rules``, or what the ``--teacher`` flag calls it.

    A teacher may have five attributes more. ``in_workers``: it costs nothing and `teacher_named`
    makes the same one of its name alone, so that every worker makes its own; without it a corpus
    asks this very teacher, in one process. ``writes_queries``: it is asked for the view ``query``
    of items. ``has_texts``: it is asked for wishes without a review and for labels without
    categories as well. ``language``: of its texts, ``en`` when left out; those of another are not
    varied by English rules. ``parameters``: what decides its texts beside its name, plain JSON
    values without any key, told in the corpus's manifest.
    """

    name: str

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One answer an ask, in order."""
        ...


@dataclass(frozen=True)
class Message:
    """One turn of what a language model is told; ``role`` as in OpenAI's chat format."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """What a language model is asked, and how many tokens its answer may have."""

    messages: tuple[Message, ...]
    max_tokens: int = 512


@dataclass(frozen=True)
class Answer:
    """What came back for one `Prompt`.

    Attributes:
        text: As it came; ``""`` where there is none.
        prompt_tokens: Paid for, as told by whoever answered.
        completion_tokens: Likewise.
        error: Why there is no answer, in one line without any key; ``""`` where there is one.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""


class Completions(Protocol):
    """A language model that answers prompts: over HTTP or in memory.

    Attributes:
        name: As the ``--teacher`` flag has it, such as ``openai:gpt-5-mini``.
    """

    name: str

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that decides an answer beside the prompt; plain JSON values, no key."""
        ...

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """Each prompt's number with its answer, as they come in, in any order."""
        ...
