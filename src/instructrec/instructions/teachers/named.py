"""Teachers by name, as flags and settings call them."""

from __future__ import annotations

from instructrec.errors import UsageError
from instructrec.instructions.teachers.base import Teacher

TEACHERS = ("rules",)


def teacher_named(name: str) -> Teacher:
    """The teacher of a name.

    Raises:
        UsageError: There is none.
    """
    if name not in TEACHERS:
        raise UsageError(f"{name!r} is not a teacher", f"Use one of {', '.join(TEACHERS)}")
    from instructrec.instructions.teachers.rules import RulesTeacher

    return RulesTeacher()
