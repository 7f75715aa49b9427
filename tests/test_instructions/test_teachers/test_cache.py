"""The cache: what is kept, by whom, and what a damaged or full disk does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from instructrec.errors import FolderError
from instructrec.instructions.teachers.base import Answer, Message, Prompt
from instructrec.instructions.teachers.cache import FILE, AnswerCache, Asked, default_folder
from instructrec.instructions.teachers.sharing import export_answers, import_answers


def asked(text: str = "Hello?", **changed: object) -> Asked:
    values = {"model": "openai:m", "version": "en-1", "parameters": {}}
    values |= {"prompt": Prompt((Message("user", text),), 64), **changed}
    return Asked(**values)  # type: ignore[arg-type]


def test_an_answer_is_found_by_all_that_decides_it(tmp_path: Path):
    cache = AnswerCache(tmp_path)
    cache.put([(asked(), Answer("Yes 🎷.", 3, 2))])
    assert AnswerCache(tmp_path).get([asked()]) == {asked().key: Answer("Yes 🎷.", 3, 2)}
    others = [
        asked("Hello!"),
        asked(model="openai:n"),
        asked(version="en-2"),
        asked(parameters={"top_p": 1}),
        asked(prompt=Prompt((Message("system", "Hello?"),), 64)),
        asked(prompt=Prompt((Message("user", "Hello?"),), 65)),
    ]
    assert cache.get(others) == {}
    assert len({one.key for one in [asked(), *others]}) == 7


def test_the_order_of_parameters_is_the_same_request():
    assert asked(parameters={"a": 1, "b": 2}).key == asked(parameters={"b": 2, "a": 1}).key


def test_the_first_answer_stays_whoever_comes_second(tmp_path: Path):
    one, other = AnswerCache(tmp_path), AnswerCache(tmp_path)
    assert one.put([(asked(), Answer("first"))]) == [Answer("first")]
    both = [(asked(), Answer("second")), (asked("else"), Answer("third"))]
    assert other.put(both) == [Answer("first"), Answer("third")]


def test_several_processes_write_at_once_and_lose_nothing(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path\n"
        "from instructrec.instructions.teachers.base import Answer, Message, Prompt\n"
        "from instructrec.instructions.teachers.cache import AnswerCache, Asked\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "for n in range(12):\n"
        "    prompt = Prompt((Message('user', f'{sys.argv[2]} {n}'),))\n"
        "    cache.put([(Asked('m', '1', {}, prompt), Answer(str(n)))])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(who)]) for who in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert AnswerCache(tmp_path).summary()[0]["answers"] == 36


@pytest.mark.parametrize("content", [b"This is no database. " * 200, b"SQLite format 3\0" * 300])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(FolderError, match=r"the cache .* damaged.*Move it away"):
        AnswerCache(tmp_path)


def test_a_file_that_is_damaged_in_the_middle_is_one_line(tmp_path: Path):
    cache = AnswerCache(tmp_path)
    cache.put([(asked(f"{number} " * 50), Answer("yes")) for number in range(300)])
    cache.close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[8192 : len(content) - 4096] = b"\xff" * (len(content) - 12288)
    path.write_bytes(content)
    with pytest.raises(FolderError, match=r"the cache .* damaged"):
        AnswerCache(tmp_path).get([asked(f"{number} " * 50) for number in range(300)])


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path):
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(FolderError, match="no cache of answers of this version"):
        AnswerCache(tmp_path)


def test_a_full_disk_is_one_line_and_what_was_kept_stays(tmp_path: Path):
    cache = AnswerCache(tmp_path)
    cache.put([(asked(), Answer("kept"))])
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(FolderError, match=r"is full\. Make room, then run the same command again"):
        for number in range(100):
            cache.put([(asked(f"{number}"), Answer("long " * 1000))])
    cache._db.execute("PRAGMA max_page_count = 1000000")
    assert cache.put([(asked("after"), Answer("fits"))]) == [Answer("fits")]
    assert AnswerCache(tmp_path).get([asked()])[asked().key] == Answer("kept")


def test_a_cache_that_is_not_there_is_made_only_to_write(tmp_path: Path):
    with pytest.raises(FolderError, match="there is no cache"):
        AnswerCache(tmp_path / "new", create=False)
    assert not (tmp_path / "new").exists()


def test_the_default_place_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INSTRUCTREC_CACHE", str(tmp_path / "models"))
    assert default_folder() == tmp_path / "teachers"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_one_exports_another_imports_once(tmp_path: Path, ending: str):
    mine, theirs = AnswerCache(tmp_path / "mine"), AnswerCache(tmp_path / "theirs")
    for number in range(5):
        mine.put([(asked(f"{number} 爵士\n"), Answer(f"{number}", 7, 3))])
    theirs.put([(asked("0 爵士\n"), Answer("theirs"))])
    file = tmp_path / f"answers.{ending}"
    assert export_answers(mine, file) == 5
    assert import_answers(theirs, file) == (4, 5)
    assert import_answers(theirs, file) == (0, 5)
    assert theirs.get([asked("0 爵士\n")])[asked("0 爵士\n").key] == Answer("theirs")
    assert theirs.get([asked("4 爵士\n")])[asked("4 爵士\n").key] == Answer("4", 7, 3)


def test_a_row_that_was_tampered_with_is_named_and_nothing_is_taken(tmp_path: Path):
    mine, theirs = AnswerCache(tmp_path / "mine"), AnswerCache(tmp_path / "theirs")
    for text in "ab":
        mine.put([(asked(text), Answer("yes"))])
    file = tmp_path / "answers.jsonl"
    export_answers(mine, file)
    lines = file.read_text().splitlines()
    file.write_text(lines[0] + "\n" + lines[1].replace("openai:m", "openai:x") + "\n")
    with pytest.raises(Exception, match=r"row 2 is not an answer"):
        import_answers(theirs, file)
    assert theirs.summary() == []


def test_pruning_drops_what_was_named(tmp_path: Path):
    cache = AnswerCache(tmp_path)
    failed, fine, other = asked("failed"), asked("fine"), asked("other", model="local:x")
    cache.put([(one, Answer("text")) for one in (failed, fine, other)])
    cache.fail([(failed, ["length"], [failed.key])])
    assert list(cache.failures()) == [("openai:m", "en-1", ["length"])]
    assert cache.prune(failed=True) == 1
    assert list(cache.failures()) == []
    assert set(cache.get([failed, fine, other])) == {fine.key, other.key}
    assert cache.prune(older_than=0) == 0
    assert cache.prune(model="local:x") == 1
    assert cache.prune(older_than=4e9) == 1
