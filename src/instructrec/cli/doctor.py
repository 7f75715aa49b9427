"""`instructrec doctor`: what is installed, what is missing, and what cures it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from instructrec.cli.app import JsonFlag, emit, new_app

app = new_app()


@app.command()
def doctor(json: JsonFlag = False) -> None:
    """Say what is installed, what is missing and the cure.

    Example: `instructrec doctor --json`
    """
    report = examine()
    emit(report, _text(report), as_json=json)


def examine() -> dict[str, Any]:
    """Versions, extras, pretrained models and the machine, as plain values."""
    needed, extras = _requirements()
    packages = {name: _version(name) for name in ("instructrec", *needed)}
    models = _models()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "gpus": _gpus() if packages.get("torch") else [],
        "packages": packages,
        "extras": {
            extra: {name: _version(name) for name in names} for extra, names in extras.items()
        },
        "models": models,
        "missing": _missing(packages, models),
    }


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of what the package needs, and of what each of its extras adds."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in requires("instructrec") or []:
        name = _name(line)
        if "extra ==" in line:
            extra = line.split("extra ==")[1].strip().strip("'\"")
            extras.setdefault(extra, []).append(name)
        else:
            needed.append(name)
    return needed, extras


def _name(requirement: str) -> str:
    for end, letter in enumerate(requirement):
        if not (letter.isalnum() or letter in "-_."):
            return requirement[:end]
    return requirement


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cores() -> int | None:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(number) for number in range(count)]


def _models() -> dict[str, bool]:
    """Which of the known pretrained models are on this machine."""
    from instructrec import pretrained

    return {name: pretrained.is_pulled(name) for name in pretrained.names()}


def _missing(packages: dict[str, str | None], models: dict[str, bool]) -> list[str]:
    cures = [
        f"{name} is not installed: pip install {name}"
        for name, found in packages.items()
        if found is None
    ]
    if not models.get("minilm", False):
        cures.append(
            "minilm is not here, so a wish finds only what shares words with it: "
            "instructrec models pull minilm"
        )
    return cures


def _text(report: dict[str, Any]) -> str:
    memory = f"{report['memory_gib']} GiB memory, " if report["memory_gib"] else ""
    lines = [
        f"Python {report['python']} on {report['platform']}",
        f"{report['cores']} cores, {memory}{report['free_disk_gib']} GiB free here; "
        f"GPUs: {', '.join(report['gpus']) or 'none'}",
        "",
        "Packages",
        *(f"  {name:<16} {found or 'MISSING'}" for name, found in report["packages"].items()),
        "",
        "Extras",
        *(f"  {extra:<8} {_extra(found)}" for extra, found in report["extras"].items()),
        "",
        "Pretrained models",
        *(
            f"  {name:<26} {'here' if found else 'not pulled'}"
            for name, found in report["models"].items()
        ),
        "",
        *(report["missing"] or ["Nothing that is needed is missing."]),
    ]
    return "\n".join(lines)


def _extra(found: dict[str, str | None]) -> str:
    absent = [name for name, number in found.items() if number is None]
    return "complete" if not absent else f"without {', '.join(absent)}"
