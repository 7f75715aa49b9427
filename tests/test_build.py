"""A run makes each stage once, goes on where it stopped, and makes again what has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec.build import Stage, run_stages
from instructrec.errors import UsageError
from instructrec.folders import new_folder, write_json


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items, title, total=None):
        return items

    def note(self, text: str) -> None:
        self.lines.append(text)


def stages(size: int = 1, colour: str = "red", broken: bool = False) -> list[Stage]:
    def first(target: Path) -> None:
        with new_folder(target, "first", command="test", replace=True) as draft:
            (draft.path / "size.txt").write_text(str(size))

    def second(target: Path) -> None:
        if broken:
            raise KeyboardInterrupt
        write_json(
            target, {"colour": colour, "size": (target.parent / "first/size.txt").read_text()}
        )

    def third(target: Path) -> None:
        write_json(target, {"from": (target.parent / "second.json").read_text()})

    return [
        Stage("first", {"size": size}, first),
        Stage("second.json", {"colour": colour}, second, after=("first",)),
        Stage("third.json", {}, third, after=("second.json",)),
    ]


ALL = ["first", "second.json", "third.json"]


def test_a_finished_run_is_not_made_again_and_says_so(tmp_path: Path):
    notes = Notes()
    assert run_stages(tmp_path / "run", stages()) == ALL
    assert run_stages(tmp_path / "run", stages(), notes) == []
    assert notes.lines == [f"{n}/3 {name}: done before" for n, name in enumerate(ALL, 1)]


def test_a_stopped_run_goes_on_at_the_stage_where_it_stopped(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run_stages(tmp_path / "run", stages(broken=True))
    assert run_stages(tmp_path / "run", stages()) == ALL[1:]


def test_a_changed_setting_makes_its_stage_and_what_follows_again(tmp_path: Path):
    run_stages(tmp_path / "run", stages())
    assert run_stages(tmp_path / "run", stages(colour="blue")) == ALL[1:]
    assert run_stages(tmp_path / "run", stages(size=2, colour="blue")) == ALL
    assert '"size": "2"' in (tmp_path / "run/second.json").read_text()


def test_a_stage_that_was_deleted_or_damaged_is_made_again(tmp_path: Path):
    run_stages(tmp_path / "run", stages())
    (tmp_path / "run/second.json").unlink()
    assert run_stages(tmp_path / "run", stages()) == ["second.json"]
    (tmp_path / "run/third.json").write_text("{}")
    assert run_stages(tmp_path / "run", stages()) == ["third.json"]


def test_an_input_file_that_changes_makes_the_stage_again(tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("a")

    def make(target: Path) -> None:
        write_json(target, {"read": log.read_text()})

    only = [Stage("copy.json", {}, make, files={"log": log})]
    assert run_stages(tmp_path / "run", only) == ["copy.json"]
    log.write_text("b")
    assert run_stages(tmp_path / "run", only) == ["copy.json"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/mine.txt").write_text("dear")
    with pytest.raises(UsageError, match="letters is not empty and is no run"):
        run_stages(tmp_path / "letters", stages())
    with pytest.raises(UsageError, match=r"mine\.txt is a file, not a folder"):
        run_stages(tmp_path / "letters/mine.txt", stages())
