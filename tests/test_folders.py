"""A stage folder is complete or absent, and its manifest says what made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructrec.errors import FolderError, WrongFolderError
from instructrec.folders import new_folder, read_manifest, verify


def _make(target: Path, text: str = "one", **options: object) -> None:
    with new_folder(target, "dataset", command="test", **options) as draft:  # type: ignore[arg-type]
        (draft.path / "a.txt").write_text(text)
        draft.rows["a"] = 1
        draft.facts["clock"] = "ms"


def test_a_complete_folder_says_what_made_it(tmp_path: Path) -> None:
    _make(tmp_path / "d", settings={"x": 1}, seed=3)
    manifest = read_manifest(tmp_path / "d", "dataset")
    assert manifest["settings"] == {"x": 1}
    assert manifest["seed"] == 3
    assert manifest["rows"] == {"a": 1}
    assert manifest["clock"] == "ms"
    assert list(manifest["files"]) == ["a.txt"]


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        new_folder(tmp_path / "d", "dataset", command="test"),
    ):
        raise RuntimeError
    assert not (tmp_path / "d").exists()
    _make(tmp_path / "d")


def test_an_error_while_replacing_keeps_the_old_folder(tmp_path: Path) -> None:
    _make(tmp_path / "d")
    with (
        pytest.raises(RuntimeError),
        new_folder(tmp_path / "d", "dataset", command="test", replace=True),
    ):
        raise RuntimeError
    verify(tmp_path / "d")


def test_a_taken_place_is_refused_and_replaced_only_when_told(tmp_path: Path) -> None:
    _make(tmp_path / "d")
    with pytest.raises(FolderError, match="exists already"):
        _make(tmp_path / "d", "two")
    _make(tmp_path / "d", "two", replace=True)
    assert (tmp_path / "d" / "a.txt").read_text() == "two"


def test_a_folder_somebody_else_made_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(FolderError, match="was not made by instructrec"):
        _make(tmp_path / "photos", replace=True)
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_an_unfinished_draft_goes_on_only_with_the_same_settings(tmp_path: Path) -> None:
    def start(settings: dict[str, int]) -> bool:
        with (
            pytest.raises(RuntimeError),
            new_folder(
                tmp_path / "d", "model", command="test", settings=settings, resume=True
            ) as draft,
        ):
            had = (draft.path / "state").exists()
            (draft.path / "state").write_text("half")
            raise RuntimeError
        return had

    assert not start({"lr": 1})
    assert start({"lr": 1})
    assert not start({"lr": 2})


def test_the_same_content_gives_the_same_manifest(tmp_path: Path) -> None:
    _make(tmp_path / "a")
    _make(tmp_path / "b")
    assert (tmp_path / "a/manifest.json").read_bytes() == (
        tmp_path / "b/manifest.json"
    ).read_bytes()


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    _make(tmp_path / "d")
    (tmp_path / "d" / "a.txt").write_text("changed")
    with pytest.raises(FolderError, match="has changed"):
        verify(tmp_path / "d")


@pytest.mark.parametrize(
    ("path", "words", "code"),
    [
        ("nowhere", "no folder", 2),
        ("empty", "incomplete", 1),
        ("d", "holds a dataset, not a model", 2),
    ],
)
def test_what_is_no_model_folder_is_refused_in_one_line(
    tmp_path: Path, path: str, words: str, code: int
) -> None:
    (tmp_path / "empty").mkdir()
    _make(tmp_path / "d")
    with pytest.raises(FolderError, match=words) as raised:
        read_manifest(tmp_path / path, "model")
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == code


def test_a_kill_between_the_two_renames_of_a_replacement_loses_neither_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    for text in ("first", "second"):
        with new_folder(target, "report", command="test", replace=True) as draft:
            (draft.path / "a.txt").write_text(text)
    whole = Path.replace

    def killed(self: Path, other: Path) -> Path:
        if self.name.endswith(".part") and other == target:
            raise KeyboardInterrupt
        return whole(self, other)

    monkeypatch.setattr(Path, "replace", killed)
    with (
        pytest.raises(KeyboardInterrupt),
        new_folder(target, "report", command="test", replace=True, resume=True) as draft,
    ):
        (draft.path / "a.txt").write_text("third")
    monkeypatch.undo()
    assert not target.exists()
    with (
        pytest.raises(WrongFolderError, match="exists already"),
        new_folder(target, "report", command="test"),
    ):
        pass
    assert (target / "a.txt").read_text() == "second"
    with new_folder(target, "report", command="test", replace=True, resume=True) as draft:
        assert (draft.path / "a.txt").read_text() == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
    assert sorted(path.name for path in target.iterdir()) == ["a.txt", "manifest.json"]


def test_what_another_version_left_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "f", "x", command="t") as draft:
        (draft.path / "half").touch()
        raise KeyboardInterrupt
    monkeypatch.setattr("instructrec.folders.version", lambda _: "9.9.9")
    with new_folder(tmp_path / "f", "x", command="t", resume=True) as draft:
        assert not (draft.path / "half").exists()
