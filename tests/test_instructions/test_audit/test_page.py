"""The page where a person judges: answers are kept one by one, and only its own page may ask."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from instructrec.errors import UsageError
from instructrec.instructions.audit.page import JudgePage
from instructrec.instructions.audit.samples import Sample
from instructrec.instructions.audit.sheet import Sheet, read_judged
from instructrec.instructions.teachers.base import ItemFacts

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SAMPLES = [
    Sample("preference", "overall", "u1", "i2", "train", f"Likes {EVIL}", "rules",
           (ItemFacts(EVIL, ("Music",), rating=4.0),), "", ItemFacts("Next")),
    Sample("intention", "what_i_want", "u2", "i3", "test", "I want 漢字.", "rules",
           (), "A review.", ItemFacts("That")),
]  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Iterator[JudgePage]:
    with _opened(tmp_path) as opened:
        yield opened
        opened.shutdown()


def _opened(tmp_path: Path) -> JudgePage:
    page = JudgePage(Sheet(SAMPLES, tmp_path / "judged.jsonl"))
    threading.Thread(target=page.serve_forever, args=(0.02,), daemon=True).start()
    return page


def _ask(
    page: JudgePage, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=10)
    sent = None if body is None else body if isinstance(body, str) else json.dumps(body)
    given = {"Content-Type": "application/json"} if sent is not None else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, sent, given)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    is_json = "json" in str(response.getheader("Content-Type"))
    return response.status, json.loads(text) if is_json else text


def test_the_questions_come_one_after_the_other_and_every_answer_is_kept(page: JudgePage) -> None:
    status, step = _ask(page, "GET", "/step")
    assert (status, step["at"], step["of"], step["done"]) == (200, 0, 8, 0)
    assert step["text"] == f"Likes {EVIL}"
    for number in range(8):
        status, step = _ask(page, "POST", "/answer", {"at": number, "value": number % 2})
        assert (status, step["done"]) == (200, number + 1)
        lines = page.sheet.path.read_text(encoding="utf-8").splitlines()
        assert len(lines) == number + 1
    assert step["finished"]
    judged = read_judged(page.sheet.path)
    assert [answers for _, answers in judged.values()] == [
        {"own": False, "knowledge": True, "reflects": False, "target": True}
    ] * 2


def test_going_back_shows_the_answer_and_a_new_one_counts(page: JudgePage) -> None:
    _ask(page, "POST", "/answer", {"at": 0, "value": 1})
    _, step = _ask(page, "GET", "/step?at=0")
    assert step["answer"] is True
    _, step = _ask(page, "POST", "/answer", {"at": 0, "value": 0})
    assert (step["at"], step["done"]) == (1, 1)
    (_, answers) = next(iter(read_judged(page.sheet.path).values()))
    assert answers == {"own": False}


def test_a_restart_goes_on_at_the_first_open_question_even_after_half_a_line(
    page: JudgePage, tmp_path: Path
) -> None:
    for at in range(3):
        _ask(page, "POST", "/answer", {"at": at, "value": 1})
    whole = page.sheet.path.read_bytes()
    page.sheet.path.write_bytes(whole + whole[:40])  # killed in the middle of a line
    with _opened(tmp_path) as again:
        _, step = _ask(again, "GET", "/step")
        assert (step["at"], step["done"]) == (3, 3)
        _ask(again, "POST", "/answer", {"at": 3, "value": 0})
        again.shutdown()
    assert next(iter(read_judged(page.sheet.path).values()))[1] == {
        "own": True, "knowledge": True, "reflects": True, "target": False
    }  # fmt: skip


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
@pytest.mark.parametrize("path", ["/", "/step"])
def test_another_host_is_refused(page: JudgePage, host: str, path: str) -> None:
    assert _ask(page, "GET", path, Host=host) == (403, {"error": "wrong host"})


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_another_origin_is_refused_and_changes_nothing(page: JudgePage, origin: str) -> None:
    body = {"at": 0, "value": 1}
    assert _ask(page, "POST", "/answer", body, Origin=origin) == (403, {"error": "wrong origin"})
    assert _ask(page, "GET", "/step", Origin=origin)[0] == 403
    assert not page.sheet.path.exists()


def test_its_own_origin_is_welcome(page: JudgePage) -> None:
    for host in ("127.0.0.1", "localhost"):
        where = f"{host}:{page.server_port}"
        status, _ = _ask(
            page, "POST", "/answer", {"at": 0, "value": 1}, Host=where, Origin=f"http://{where}"
        )
        assert status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"at": 99, "value": 1},
        {"at": -1, "value": 1},
        {"at": True, "value": 1},
        {"at": "0", "value": 1},
        {"at": 0, "value": 7},
        {"at": 0},
        [],
        "no json",
        "x" * 2000,
    ],
)
def test_what_is_no_answer_is_refused(page: JudgePage, body: Any) -> None:
    status, told = _ask(page, "POST", "/answer", body)
    assert status == 400
    assert told["error"]
    assert not page.sheet.path.exists()


def test_a_form_of_another_site_cannot_answer(page: JudgePage) -> None:
    body = json.dumps({"at": 0, "value": 1})
    status, _ = _ask(page, "POST", "/answer", body, Content_Type="text/plain")
    assert status == 400
    assert _ask(page, "GET", "/judged.jsonl")[0] == 404


def test_the_page_is_one_file_that_reaches_for_nothing_and_writes_no_html(page: JudgePage) -> None:
    status, html = _ask(page, "GET", "/")
    assert status == 200
    for word in ("http:", "https:", "//", "src=", "innerHTML", "insertAdjacent", "document.write"):
        assert word not in html.replace("// Every", "")
    assert EVIL not in html


def test_the_file_needs_a_folder_and_the_port_must_be_free(page: JudgePage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        Sheet(SAMPLES, tmp_path / "absent" / "judged.jsonl")
    with pytest.raises(UsageError, match="cannot be used"):
        JudgePage(page.sheet, page.server_port)


DOM = """
const nodes = {}, keys = {};
const node = (id) => nodes[id] ??= {id, attributes: {},
  setAttribute(name, value) { this.attributes[name] = value; }};
globalThis.document = {getElementById: node,
  addEventListener: (kind, run) => { keys[kind] = run; }};
const url = process.argv[2], real = fetch;
globalThis.fetch = (path, options) => real(new URL(path, url), options);
const press = async (key) => { keys.keydown({key, preventDefault() {}}); await settle(); };
const settle = () => new Promise((done) => setTimeout(done, 150));
"""
USE = """
(async () => {
  await settle();
  const shown = [node("text").textContent];
  await press("1"); await press("0"); await press("ArrowLeft");
  shown.push(node("no").attributes["aria-pressed"], node("progress").textContent);
  await press("x"); await press("1");
  shown.push(node("progress").textContent);
  console.log(JSON.stringify(shown));
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_the_pages_keys_answer_and_go_back(page: JudgePage, tmp_path: Path) -> None:
    html = (files("instructrec.instructions.audit") / "page.html").read_text(encoding="utf-8")
    script = html.partition("<script>")[2].partition("</script>")[0].replace('"use strict";', "")
    (tmp_path / "page.js").write_text(DOM + script + USE, encoding="utf-8")
    out = subprocess.run(
        ["node", str(tmp_path / "page.js"), page.url], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == [
        f"Likes {EVIL}", "true", "2 of 8 answered", "2 of 8 answered"
    ]  # fmt: skip
    assert next(iter(read_judged(page.sheet.path).values()))[1] == {
        "own": True, "knowledge": True
    }  # fmt: skip


def test_a_number_beyond_all_questions_is_answered_with_the_first_open_one(page: JudgePage) -> None:
    _, first = _ask(page, "GET", "/step")
    status, step = _ask(page, "GET", f"/step?at={'9' * 5000}")
    assert (status, step) == (200, first)
