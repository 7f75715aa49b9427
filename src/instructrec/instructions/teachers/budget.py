"""What requests cost: tokens estimated before they are sent, prices, and a limit on both."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instructrec.errors import InstructRecError, UsageError
from instructrec.instructions.teachers.base import Prompt

LETTERS_PER_TOKEN = 4.0
"""Of text in an alphabet, as OpenAI states it for English; a wide letter (CJK) is one token."""
MESSAGE_TOKENS = 4
"""What the frame of a message takes."""
_MILLION = 1_000_000
_WIDE = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(usd|k|m|b)?")
_TIMES = {"k": 1_000, "m": _MILLION, "b": 1_000 * _MILLION}
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class BudgetError(InstructRecError):
    """The budget has no room for another request; all that was paid for is kept."""


def tokens_of(text: str) -> int:
    """About how many tokens a text has: a quarter of its letters, one for each wide letter.

    No tokenizer is asked, since each model has its own and most are not to be had offline.
    """
    wide = len(_WIDE.findall(text))
    return wide + math.ceil((len(text) - wide) / LETTERS_PER_TOKEN)


def prompt_tokens(prompt: Prompt) -> int:
    """About how many tokens a prompt has."""
    return sum(tokens_of(turn.content) + MESSAGE_TOKENS for turn in prompt.messages)


def most_tokens(prompt: Prompt) -> int:
    """More tokens than a prompt can have: a byte-level tokenizer needs no more than its bytes."""
    return sum(len(turn.content.encode()) + 4 * MESSAGE_TOKENS for turn in prompt.messages)


class Price(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """USD."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / _MILLION


FREE = Price(input=0, output=0)


class Prices(BaseModel):
    """What models cost, and since when that is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: date
    models: dict[str, Price]

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read a price list.

        Args:
            path: A YAML file like prices.yaml of this package; that one when none.

        Raises:
            UsageError: It cannot be read or is no price list.
        """
        try:
            source = path or files("instructrec.instructions.teachers") / "prices.yaml"
            content: Any = yaml.safe_load(source.read_text(encoding="utf-8"))
            return cls.model_validate(content)
        except OSError as error:
            raise UsageError(f"--prices {path}: {error.strerror}", "Check the path") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            line = " ".join(str(error).split())
            raise UsageError(f"--prices {path} is not YAML ({line})", "Mend it") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UsageError(
                f"--prices {path}, {place}: {first['msg']}",
                "Write date: 2026-01-31 and models: {NAME: {input: 0.25, output: 2.0}}",
            ) from None

    def of(self, model: str) -> Price | None:
        """The price of a model, or of the same without the date at its end."""
        return self.models.get(model) or self.models.get(_DATED.sub("", model))


@dataclass
class Budget:
    """What may be spent, and what is.

    Attributes:
        limit: Tokens, or USD with ``money``; no limit when infinite.
        money: Whether the limit is USD.
        price: Of a token; none where it is unknown.
        prompt_tokens: Spent so far.
        completion_tokens: Spent so far.
        answers: Paid for so far.
    """

    limit: float = math.inf
    money: bool = False
    price: Price | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answers: int = 0

    @classmethod
    def parse(cls, text: str | None, price: Price | None, model: str) -> Budget:
        """Read ``5usd``, ``$5``, ``500k`` or ``2M`` (tokens).

        Raises:
            UsageError: It is no amount, or one of money and the model's price is unknown.
        """
        if text is None:
            return cls(price=price)
        plain = text.strip().lower().replace(",", "")
        if plain.startswith("$"):
            plain = f"{plain[1:]}usd"
        found = _AMOUNT.fullmatch(plain)
        if not found or not float(found[1]):
            raise UsageError(
                f"--budget {text!r} is no amount", "Write 5usd, or tokens as 500k or 2M"
            )
        money = found[2] == "usd"
        if money and price is None:
            raise UsageError(
                f"no price is known for {model}, so a budget in money cannot be kept",
                "Give --prices FILE, or a budget in tokens such as 2M",
            )
        return cls(float(found[1]) * _TIMES.get(found[2] or "", 1), money, price)

    @property
    def spent(self) -> float:
        """In the unit of the limit."""
        return self._amount(self.prompt_tokens, self.completion_tokens)

    @property
    def usd(self) -> float | None:
        """Spent so far; none where the price is unknown."""
        if self.price is None:
            return None
        return self.price.cost(self.prompt_tokens, self.completion_tokens)

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count an answer."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.answers += 1

    def room(self, prompts: Iterable[Prompt]) -> int:
        """How many of these, from the first on, may be sent without any risk to the limit.

        Each is reckoned with as many tokens as it can cost at most.
        """
        left, count = self.limit - self.spent, 0
        for prompt in prompts:
            left -= self._amount(most_tokens(prompt), prompt.max_tokens)
            if left < 0:
                break
            count += 1
        return count

    def told(self) -> str:
        """What is spent, for people."""
        tokens = f"{self.prompt_tokens + self.completion_tokens:,} tokens"
        return tokens if self.usd is None else f"{tokens}, {self.usd:.2f} USD"

    def spent_error(self, where: Path) -> BudgetError:
        """Why no more is sent."""
        limit = f"{self.limit:g} USD" if self.money else f"{self.limit:,.0f} tokens"
        return BudgetError(
            f"the budget of {limit} has no room for another request; {self.answers:,} answers "
            f"were paid for in this run ({self.told()}), all kept in {where}",
            "Run the same command again to go on: each run may spend the budget anew",
        )

    def _amount(self, prompt_tokens: float, completion_tokens: float) -> float:
        if self.money and self.price is not None:
            return self.price.cost(prompt_tokens, completion_tokens)
        return prompt_tokens + completion_tokens
