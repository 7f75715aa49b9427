"""Stage folders: complete or absent, each with a manifest that says what made it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from instructrec.errors import FolderError, WrongFolderError

MANIFEST = "manifest.json"
LOG = "log"
"""Files below this sub-folder (wall times, rates) differ from run to run and are not hashed."""
_MARK = ".identity.json"
"""What says of an unfinished draft what it is a draft of."""

_PACKAGES = ("instructrec", "numpy", "polars", "pyarrow", "torch", "transformers", "tokenizers")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(value: object) -> str:
    """JSON as every file of ours has it: keys sorted, two spaces, a final newline."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write ``value`` so that ``path`` holds either its old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(dump_json(value), encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        FolderError: The file is absent or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{path} is missing", "Make the folder again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FolderError(f"{path} is not JSON ({error})", "Make the folder again") from None


@dataclass
class Draft:
    """A folder being written; what is set here ends in its manifest.

    Attributes:
        path: Where to write; it becomes the target when the draft closes without an error.
        rows: Row counts by file or table.
        facts: Further entries of the manifest, such as ``protocol`` and ``clock``.
    """

    path: Path
    rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def identity(
    kind: str, settings: Mapping[str, Any], seed: int, inputs: Mapping[str, Path]
) -> dict[str, Any]:
    """What decides a folder's content: the part of a manifest known before the work is done.

    Args:
        kind: ``dataset``, ``corpus``, ``model``, ``retrievers`` or ``report``.
        settings: Every setting that changes the result; plain JSON values.
        seed: The random seed.
        inputs: Input folders by role (their manifests are hashed) or input files (hashed whole).
    """
    hashes = {
        role: sha256(path / MANIFEST if path.is_dir() else path)
        for role, path in sorted(inputs.items())
    }
    return {"kind": kind, "settings": dict(settings), "seed": seed, "inputs": hashes}


@contextlib.contextmanager
def new_folder(
    target: Path,
    kind: str,
    *,
    command: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    inputs: Mapping[str, Path] | None = None,
    replace: bool = False,
    resume: bool = False,
) -> Iterator[Draft]:
    """Write a stage folder beside its place and rename it there when it is complete.

    On an error or a kill the target is untouched. With ``resume`` the unfinished draft of an
    earlier try with the same identity is kept and handed on; otherwise it is thrown away.

    Args:
        target: The folder to make.
        kind: What it holds (see `identity`).
        command: The command that makes it, for people to read.
        settings: See `identity`.
        seed: See `identity`.
        inputs: See `identity`.
        replace: Whether a complete folder that is there already gives way.
        resume: Whether an unfinished draft goes on.

    Raises:
        FolderError: ``target`` exists and ``replace`` is false, or is a file, or is a folder
            that no stage of ours made.
    """
    made_by = identity(kind, settings or {}, seed, inputs or {})
    _bring_back(target)
    _check_target(target, replace)
    part = target.with_name(f".{target.name}.part")
    mark = part / _MARK
    # Another version may do the same work in another way: what it left is not gone on with.
    begun = {**made_by, "instructrec": _versions().get("instructrec")}
    if part.exists() and not (resume and mark.is_file() and read_json(mark) == begun):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    write_json(mark, begun)
    draft = Draft(part)
    yield draft
    manifest = {
        **made_by,
        **draft.facts,
        "command": command,
        "rows": draft.rows,
        "versions": _versions(),
        "files": _hashes(part),
    }
    write_json(part / MANIFEST, manifest)
    _swap(part, target)
    # Last of all, so that whatever was stopped before can be gone on with.
    (target / _MARK).unlink()


def _check_target(target: Path, replace: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise WrongFolderError(f"{target} is a file, not a folder", "Name another folder")
    if not (target / MANIFEST).is_file():
        raise WrongFolderError(
            f"{target} is not empty and was not made by instructrec", "Name another folder"
        )
    if not replace:
        raise WrongFolderError(f"{target} exists already", "Name another folder or add --replace")


def _bring_back(target: Path) -> None:
    """Put a folder back that was about to give way when it was stopped (see `_swap`)."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.replace(target)


def _swap(part: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if target.exists():
        target.replace(old)
    part.replace(target)
    if old.exists():
        shutil.rmtree(old)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (MANIFEST, _MARK) and not name.startswith(f"{LOG}/"):
            hashes[name] = sha256(path)
    return hashes


_OWN = {"command", "files", "inputs", "kind", "rows", "seed", "settings", "versions"}


def carried(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of a model's making, which another form of its weights keeps.

    Args:
        manifest: Of the model; empty where it has none.

    Returns:
        Facts of the new folder: the model's own, such as its protocol, and the hashes of what it
        was made of.
    """
    facts = {name: value for name, value in manifest.items() if name not in _OWN}
    if "inputs" in manifest:
        facts["inputs"] = manifest["inputs"]
    return facts


def read_manifest(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The manifest of a complete folder.

    Args:
        folder: A stage folder.
        kind: The kind it must be; any when left out.

    Raises:
        FolderError: The folder is absent, incomplete or of another kind.
    """
    if not folder.is_dir():
        raise WrongFolderError(f"there is no folder {folder}", "Check the path")
    if not (folder / MANIFEST).is_file():
        raise FolderError(
            f"{folder} has no {MANIFEST}: it is incomplete or was not made by instructrec",
            "Run the stage that makes it again",
        )
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if kind and manifest.get("kind") != kind:
        raise WrongFolderError(
            f"{folder} holds a {manifest.get('kind')}, not a {kind}", "Check the path"
        )
    return manifest


def verify(folder: Path) -> None:
    """Check every file of a folder against its manifest.

    Raises:
        FolderError: A file is missing or has changed.
    """
    for name, digest in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            raise FolderError(f"{path} is missing", "Run the stage that makes it again")
        if sha256(path) != digest:
            raise FolderError(
                f"{path} has changed since it was written", "Run the stage that makes it again"
            )


def sync(path: Path) -> None:
    """Push a file's bytes to the disk, so that a power cut after this call does not lose it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
