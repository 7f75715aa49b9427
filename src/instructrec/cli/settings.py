"""Flags to settings: what a settings class refuses is a wrong request, told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from instructrec.errors import FolderError, UsageError
from instructrec.folders import read_json

Settings = TypeVar("Settings", bound=BaseModel)


def settled(kind: type[Settings], **values: Any) -> Settings:
    """Make settings of flags.

    Raises:
        UsageError: A value is refused; the flag is named.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-") if first["loc"] else "the settings"
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"--{name} {first.get('input')!r}: {reason}", "See the command's --help"
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
