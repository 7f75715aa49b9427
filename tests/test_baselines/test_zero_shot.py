"""A language model that is asked for an order is asked once, and taken at its word."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.data.catalogue import Catalogue
from instructrec.errors import DataError
from instructrec.evaluation.baselines import UnavailableError
from instructrec.evaluation.baselines.likelihood import ZeroShotLikelihood
from instructrec.evaluation.baselines.zero_shot import (
    ZeroShot,
    checked,
    default_wording,
    parse_order,
    tell,
)
from instructrec.instructions.schema import Instruction, Intention, IntentionKind, Preference
from instructrec.instructions.teachers.base import Answer, Prompt
from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.openai import OpenAICompletions

TITLES = ("FIFA 15", "Halo 3", "Halo 3: ODST", "{count} Kart", "Tetris", "Zelda")
WISH = Instruction(
    Preference(("Mario",), ("m",)), Intention("something to race", IntentionKind.VAGUE), user_id="u"
)


@pytest.fixture
def catalogue() -> Catalogue:
    ids = [f"i{number}" for number in range(len(TITLES))]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": TITLES}))


class Model:
    """Answers by a function of the prompt, and counts how often it is asked."""

    name = "openai:made-up"

    def __init__(self, says: Callable[[str], str]) -> None:
        self.parameters: dict[str, Any] = {}
        self.says = says
        self.prompts: list[Prompt] = []

    def complete(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        self.prompts += prompts
        for number in reversed(range(len(prompts))):
            text = self.says(prompts[number].messages[-1].content)
            yield number, Answer(text, 10, 5, error="" if text else "refused: no")


def places(prompt: str) -> dict[str, int]:
    """Number by title, as they stand in a prompt."""
    lines = [line for line in prompt.splitlines() if line.startswith("[")]
    return {line.split("] ", 1)[1]: int(line[1 : line.index("]")]) for line in lines}


def by_name(prompt: str) -> str:
    """A model that ranks by the alphabet."""
    told = places(prompt)
    return json.dumps({"order": [told[title] for title in sorted(told)]})


EVERY = np.arange(len(TITLES))[None]


def test_candidates_are_ranked_as_the_model_orders_them(catalogue: Catalogue) -> None:
    scores = ZeroShot(Model(by_name), catalogue).score([WISH], EVERY)[0]
    assert np.argsort(-scores).tolist() == sorted(range(len(TITLES)), key=lambda n: TITLES[n])
    assert scores.dtype == np.float32


def test_the_prompt_holds_history_wish_and_candidates_and_no_title_fills_a_slot(
    catalogue: Catalogue,
) -> None:
    model = Model(by_name)
    ZeroShot(model, catalogue).score([WISH], EVERY)
    (prompt,) = model.prompts
    text = prompt.messages[-1].content
    assert "- Mario" in text and "something to race" in text and "all 6 candidates" in text
    assert "{count} Kart" in text
    assert sorted(places(text)) == sorted(TITLES)


def test_neither_the_order_given_nor_padding_changes_a_score(catalogue: Catalogue) -> None:
    # It likes whatever is first in the list it is shown.
    first = ZeroShot(Model(lambda _: '{"order": [1, 2]}'), catalogue)
    plain = first.score([WISH], EVERY)[0]
    order = np.array([4, -1, 2, 0, 5, 3, 1])
    mixed = first.score([WISH], order[None])[0]
    assert mixed[1] == -np.inf
    for place, row in enumerate(order):
        if row >= 0:
            assert mixed[place] == plain[row]


def test_what_an_answer_does_not_name_keeps_its_order_behind_and_is_not_asked_for_again(
    catalogue: Catalogue,
) -> None:
    model = Model(lambda prompt: f"[{places(prompt)['Zelda']}] > [99]")
    rival = ZeroShot(model, catalogue)
    scores = rival.score([WISH], EVERY)[0]
    assert scores.argmax() == TITLES.index("Zelda")
    shown = places(model.prompts[0].messages[-1].content)
    rest = sorted((title for title in TITLES if title != "Zelda"), key=lambda title: shown[title])
    assert [TITLES[row] for row in np.argsort(-scores)[1:]] == rest
    assert len(model.prompts) == 1 and rival.told["partial"] == 1
    assert "1 some" in next(iter(tell(rival.told)))


def test_without_an_answer_all_keep_their_order_and_nothing_is_asked_again(
    catalogue: Catalogue,
) -> None:
    model = Model(lambda _: "")
    rival = ZeroShot(model, catalogue)
    scores = rival.score([WISH] * 3, np.repeat(EVERY, 3, axis=0))
    assert sorted(scores[0].tolist()) == [1, 2, 3, 4, 5, 6]
    assert len(model.prompts) == 3 and rival.told["none"] == 3


def test_an_answer_that_is_in_the_cache_is_not_paid_for_again(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    model, cache = Model(by_name), AnswerCache(tmp_path)
    one = ZeroShot(model, catalogue, cache=cache).score([WISH], EVERY)
    two = ZeroShot(model, catalogue, cache=cache).score([WISH], EVERY)
    np.testing.assert_array_equal(one, two)
    assert len(model.prompts) == 1


def test_over_http_every_request_is_sent_once(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            message = {"role": "assistant", "content": "I would rather not say."}
            answer = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            }
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        rival = ZeroShot(OpenAICompletions("some-model", address), catalogue)
        rival.score([WISH, Instruction()], np.repeat(EVERY, 2, axis=0))
    finally:
        server.shutdown()
        server.server_close()
    assert len(seen) == 2 and rival.told["none"] == 2 and rival.told["tokens"] == 8
    assert rival.name == "zero-shot openai:some-model"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"order": [3, 1, 2, 6, 5, 4]}', [2, 0, 1, 5, 4, 3]),
        ('Sure!\n```json\n{"order": ["3", "[1]"]}\n```', [2, 0]),
        ('{"order": ["Halo 3: ODST", "fifa 15"]}', [2, 0]),
        ('{"why": "taste", "ranking": [2, 2, 9, 0, true]}', [1]),
        ("[3] > [1] > [2]", [2, 0, 1]),
        ("3 > 1 > 2", [2, 0, 1]),
        ("[5, 4]", [4, 3]),
        ("[2]", [1]),
        ("1. Halo 3: ODST\n2. Tetris\n3. FIFA 15", [2, 4, 0]),
        ("I cannot rank these.", []),
        ("", []),
        ('{"order": []}', []),
        ('{"order": [1, 2', [0, 1]),
    ],
)
def test_answers_are_read_in_the_forms_they_come_in(text: str, expected: list[int]) -> None:
    assert parse_order(text, TITLES) == expected


@given(st.permutations(range(1, 7)))
def test_every_whole_order_comes_through(order: list[int]) -> None:
    expected = [number - 1 for number in order]
    assert parse_order(json.dumps({"order": order}), TITLES) == expected
    assert parse_order(" > ".join(f"[{number}]" for number in order), TITLES) == expected
    listed = "\n".join(f"{at}) {TITLES[number - 1]}" for at, number in enumerate(order, 1))
    assert parse_order(listed, TITLES) == expected


@given(st.text(max_size=80))
def test_whatever_is_answered_names_each_candidate_once_at_most(text: str) -> None:
    found = parse_order(text, TITLES)
    assert len(set(found)) == len(found) and set(found) <= set(range(len(TITLES)))


def test_a_wording_without_its_slots_is_refused() -> None:
    with pytest.raises(DataError, match="lacks count under 'ask'"):
        checked({**default_wording(), "ask": "Rank these: {items}"})
    with pytest.raises(DataError, match="its text"):
        checked({"version": "1"})


def test_a_pretrained_model_that_is_not_here_is_left_out(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTRUCTREC_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match="zero-shot smollm2-135m-instruct is left out"):
        ZeroShotLikelihood.load("smollm2-135m-instruct", catalogue)
