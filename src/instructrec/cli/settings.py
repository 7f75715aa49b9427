"""Flags to settings: what a settings class refuses is a wrong request, told in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from instructrec.errors import FolderError, UsageError
from instructrec.folders import read_json

Settings = TypeVar("Settings", bound=BaseModel)


def settled(kind: type[Settings], pairs: str = "--set", /, **values: Any) -> Settings:
    """Make settings of flags.

    Args:
        kind: The settings.
        pairs: The flag that takes any setting as NAME=VALUE.
        values: By name.

    Raises:
        UsageError: A value is refused; the flag is named.
    """
    return settled_with(kind, None, values, pairs=pairs)


def settled_with(
    kind: type[Settings],
    file: Path | None,
    flags: Mapping[str, Any],
    within: str = "",
    pairs: str = "--set",
) -> Settings:
    """Make settings of a JSON file and of flags, which go before it.

    Args:
        kind: The settings.
        file: A JSON object; nothing is read where there is none.
        flags: Values by name.
        within: A key of the file whose object is meant, such as ``tuning``.
        pairs: The flag that takes any setting as NAME=VALUE.

    Raises:
        UsageError: The file cannot be read or a value is refused; the flag, or the file and the
            name in it, is named.
    """
    found = from_file(file)
    values = {**(found.get(within, {}) if within else found), **flags}
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "the settings"
        reason = first["msg"].removeprefix("Value error, ")
        top = str(first["loc"][0]) if first["loc"] else ""
        known = ", ".join(kind.model_fields)
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 and top in flags:
            raise UsageError(
                f"{pairs} {top}: there is no such setting", f"Use one of {known}"
            ) from None
        if file is None or top in flags:
            flag = (top or name).replace("_", "-")
            raise UsageError(
                f"--{flag} {first.get('input')!r}: {reason}", "See the command's --help"
            ) from None
        place = f"{within}.{name}" if within else name
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{file} has an unknown setting {place!r}", f"Use {known}") from None
        raise UsageError(
            f"{file}, {place} {first.get('input')!r}: {reason}", "Mend this setting"
        ) from None


def from_file(path: Path | None) -> dict[str, Any]:
    """Settings of a JSON file, none where there is no file.

    Raises:
        UsageError: It is absent or a folder, or holds no JSON object.
    """
    if path is not None and not path.is_file():
        raise UsageError(f"there is no file {path}", "Check --config")
    try:
        content = {} if path is None else read_json(path)
    except FolderError as error:
        raise UsageError(error.what, 'Write a JSON object: {"seed": 1}') from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no settings", 'Write a JSON object: {"seed": 1}')
    return content
