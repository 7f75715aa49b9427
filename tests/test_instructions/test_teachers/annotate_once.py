"""Writes the texts of some users through a server, and puts them into a file when all are there.

A process of its own, so that tests can kill it: ``annotate_once.py URL CACHE USERS OUT``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from worlds import asks_of

from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.language_model import LanguageModelTeacher
from instructrec.instructions.teachers.openai import OpenAICompletions
from instructrec.instructions.teachers.prompting import PromptBook


def main(base_url: str, cache: str, users: str, out: str) -> None:
    completions = OpenAICompletions("fake", base_url, concurrency=4, timeout=1.0)
    teacher = LanguageModelTeacher(completions, PromptBook.load("en"), AnswerCache(Path(cache)))
    written = []
    for first in range(0, int(users), 20):
        written += teacher.write(asks_of(min(20, int(users) - first), first))
    lines = [json.dumps([one.text, one.by]) for one in written]
    part = Path(f"{out}.part")
    part.write_text("\n".join(lines))
    part.replace(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
