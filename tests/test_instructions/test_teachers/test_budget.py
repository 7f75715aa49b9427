"""Prices, estimates and the limit on what may be spent."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.errors import UsageError
from instructrec.instructions.teachers.base import Message, Prompt
from instructrec.instructions.teachers.budget import (
    Budget,
    Price,
    Prices,
    most_tokens,
    prompt_tokens,
    tokens_of,
)

PRICE = Price(input=1.0, output=10.0)


def prompt(text: str, most: int = 100) -> Prompt:
    return Prompt((Message("user", text),), most)


def test_four_letters_or_one_chinese_sign_are_a_token():
    assert tokens_of("abcdefgh") == 2
    assert tokens_of("音乐") == 2
    assert tokens_of("jazz音乐") == 3
    assert tokens_of("") == 0


@given(st.text(max_size=200))
def test_the_estimate_is_never_above_the_most(text: str):
    assert prompt_tokens(prompt(text)) <= most_tokens(prompt(text))


@pytest.mark.parametrize(
    ("text", "limit", "money"),
    [("5usd", 5, True), ("$5", 5, True), ("0.5 USD", 0.5, True), ("2M", 2e6, False),
     ("500k", 5e5, False), ("1,000", 1000, False)],
)  # fmt: skip
def test_amounts_are_money_or_tokens(text: str, limit: float, money: bool):
    budget = Budget.parse(text, PRICE, "m")
    assert (budget.limit, budget.money) == (limit, money)


@pytest.mark.parametrize("text", ["", "five", "5eur", "-3", "0", "0usd", "2 M tokens"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(UsageError, match="is no amount"):
        Budget.parse(text, PRICE, "m")


def test_money_needs_a_price():
    with pytest.raises(UsageError, match=r"no price is known for m.*--prices"):
        Budget.parse("5usd", None, "m")
    assert Budget.parse("2M", None, "m").limit == 2e6


def test_no_limit_has_room_for_all():
    assert Budget.parse(None, None, "m").room([prompt("x")] * 1000) == 1000


@given(st.integers(0, 10_000), st.booleans(), st.integers(0, 2**32))
def test_whatever_is_answered_the_limit_holds(limit: int, money: bool, seed: int):
    rng = random.Random(seed)
    budget = Budget(limit / 1000 if money else limit, money, PRICE)
    prompts = [prompt("word " * rng.randrange(20), rng.randrange(1, 200)) for _ in range(30)]
    while prompts and (room := budget.room(prompts)):
        for one in prompts[:room]:
            budget.add(rng.randrange(most_tokens(one) + 1), rng.randrange(one.max_tokens + 1))
        prompts = prompts[room:]
    assert budget.spent <= budget.limit


def test_the_list_has_a_date_and_finds_models_by_name():
    prices = Prices.load()
    assert prices.date.year >= 2025
    mini, large = prices.of("gpt-5-mini"), prices.of("gpt-5")
    assert mini and large and mini.output < large.output
    assert prices.of("gpt-5-mini-2025-08-07") == mini
    assert prices.of("no-such-model") is None
    assert mini.cost(1_000_000, 1_000_000) == mini.input + mini.output


def test_a_list_of_ones_own_takes_its_place(tmp_path: Path):
    file = tmp_path / "prices.yaml"
    file.write_text("date: 2026-01-01\nmodels:\n  ours: {input: 1, output: 2}\n")
    assert Prices.load(file).of("ours") == Price(input=1, output=2)
    assert Prices.load(file).of("gpt-5") is None


@pytest.mark.parametrize(
    ("content", "told"),
    [("models: {m: {input: 1}}", "date"), ("{", "not YAML"),
     ("date: 2026-01-01\nmodels: {m: {input: -1, output: 1}}", r"models\.m\.input"), ("", "file")],
)  # fmt: skip
def test_a_wrong_list_is_told_with_the_place(tmp_path: Path, content: str, told: str):
    file = tmp_path / "prices.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=told):
        Prices.load(file)
    with pytest.raises(UsageError, match="No such file"):
        Prices.load(tmp_path / "absent.yaml")
