"""The errors instructrec raises: each says what is wrong, where, and what cures it."""

from __future__ import annotations


class InstructRecError(Exception):
    """A failure a person can mend; the command line prints it as one line.

    Args:
        what: What is wrong and where (file, line, column, flag), without a final full stop.
        cure: What to do about it, an imperative; left out when nothing can be advised.
    """

    exit_code = 1

    def __init__(self, what: str, cure: str = "") -> None:
        self.what = what
        self.cure = cure
        super().__init__(f"{what}. {cure}" if cure else what)

    def __reduce__(self) -> tuple[type[InstructRecError], tuple[str, str]]:
        """Whole again when it comes from another process."""
        return type(self), (self.what, self.cure)


class UsageError(InstructRecError):
    """The request itself is wrong: a flag, a path, a name, a scenario."""

    exit_code = 2


class DataError(InstructRecError):
    """A file of logs or items cannot be read, or too many of its rows are bad."""


class FolderError(InstructRecError):
    """A folder is incomplete, damaged, of another kind or made by other settings."""


class WrongFolderError(FolderError):
    """The folder that was named is not there, is of another kind, or its place is taken."""

    exit_code = 2


class ModelError(InstructRecError):
    """A model cannot be fetched, verified, loaded or run."""


class InstructRecWarning(UserWarning):
    """Something a person may want to know while work goes on; the command line prints it."""
