"""Templates: the wordings an instruction is put in, read from YAML and checked (paper §3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from instructrec.errors import DataError, UsageError
from instructrec.instructions._rendering import (
    SLOTS,
    Rendered,
    Template,
    render,
    render_response,
)
from instructrec.instructions._template_checks import ASKS, STRATEGIES, template_faults
from instructrec.instructions.schema import Scenario

__all__ = [
    "ASKS",
    "SLOTS",
    "STRATEGIES",
    "Rendered",
    "Template",
    "TemplateBank",
    "render",
    "render_response",
]


class TemplateBank:
    """Templates by id and by what they cover.

    Args:
        templates: In the order they are to be listed; each is checked.

    Raises:
        DataError: A template contradicts itself, or two share an id.

    Example:
        >>> bank = TemplateBank.load()
        >>> [template.id for template in bank.covering(Scenario.parse("P1,I0,T0"))]
        ['A11', 'A12']
    """

    def __init__(self, templates: Iterable[Template]) -> None:
        self._by_id = _checked(list(templates))
        self._covering: dict[str, list[Template]] = {}
        for template in self._by_id.values():
            singles = (single for scenario in template.scenarios for single in scenario.singles())
            for single in dict.fromkeys(str(single) for single in singles):
                self._covering.setdefault(single, []).append(template)

    @classmethod
    def load(cls, folder: Path | str | None = None) -> TemplateBank:
        """Read every YAML file of a folder, the packaged ones by default; listed by family.

        Raises:
            DataError: A file cannot be read, or a template in it contradicts itself.
        """
        return _packaged() if folder is None else cls(_read_folder(Path(folder)))

    def __iter__(self) -> Iterator[Template]:
        """The templates in the order listed."""
        return iter(self._by_id.values())

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def __contains__(self, template_id: object) -> bool:
        """Whether there is a template of this id."""
        return template_id in self._by_id

    def __getitem__(self, template_id: str) -> Template:
        """The template of an id.

        Raises:
            UsageError: There is none.
        """
        if template_id not in self._by_id:
            raise UsageError(
                f"there is no template {template_id!r}", f"Take one of {', '.join(self._by_id)}"
            )
        return self._by_id[template_id]

    def covering(
        self, scenario: Scenario, strategy: str | None = None, asks: str | None = None
    ) -> list[Template]:
        """The templates a single scenario may be worded by, in the order listed.

        Args:
            scenario: A single scenario.
            strategy: Only templates of this strategy.
            asks: Only templates that ask this.

        Raises:
            UsageError: The scenario has alternatives.
        """
        if not scenario.is_single:
            raise UsageError(f"{scenario} has alternatives", "Take one of them at a time")
        return [
            template
            for template in self._covering.get(str(scenario), [])
            if strategy in (None, template.strategy) and asks in (None, template.asks)
        ]


class _Entry(BaseModel):
    """One template as YAML has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str
    scenarios: list[str]
    strategy: str
    asks: str
    slots: list[str]
    prompt: str
    wordings: list[str] = []
    response: str


class _File(BaseModel):
    """A YAML file of templates."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    family: str
    about: str = ""
    templates: list[_Entry]


@lru_cache(maxsize=1)
def _packaged() -> TemplateBank:
    with as_file(files("instructrec.instructions") / "templates") as folder:
        return TemplateBank(_read_folder(folder))


def _read_folder(folder: Path) -> list[Template]:
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise DataError(f"{folder} has no template file", "Name a folder of YAML files")
    templates = [template for path in paths for template in _read_file(path)]
    return sorted(templates, key=lambda template: template.family)


def _read_file(path: Path) -> list[Template]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = _File.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read ({_one_line(error)})", "Mend its YAML") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"{path}, {where}: {first['msg']}", "Mend this entry") from None
    return [_template(entry, file.family, path) for entry in file.templates]


def _template(entry: _Entry, family: str, path: Path) -> Template:
    try:
        scenarios = tuple(Scenario.parse(text) for text in entry.scenarios)
    except UsageError as error:
        raise DataError(f"{path}, template {entry.id}: {error.what}", error.cure) from None
    return Template(
        id=entry.id,
        scenarios=scenarios,
        strategy=entry.strategy,
        asks=entry.asks,
        prompt=entry.prompt.strip(),
        response=entry.response.strip(),
        family=family,
        slots=tuple(entry.slots),
        wordings=tuple(wording.strip() for wording in entry.wordings),
    )


def _checked(templates: Sequence[Template]) -> dict[str, Template]:
    counts = Counter(template.id for template in templates)
    twice = [template_id for template_id, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"two templates are called {twice[0]}", "Give each its own id")
    for template in templates:
        for number, version in enumerate(template.versions):
            if fault := _fault(version):
                where = f"template {template.id}" + (f", wording {number}" if number else "")
                raise DataError(f"{where}: {fault}", "Mend its YAML entry")
        if len({version.prompt for version in template.versions}) < len(template.versions):
            raise DataError(
                f"template {template.id} has the same wording twice", "Mend its YAML entry"
            )
    return {template.id: template for template in templates}


def _fault(template: Template) -> str:
    try:
        return next(iter(template_faults(template)), "")
    except jinja2.TemplateError as error:
        return _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
