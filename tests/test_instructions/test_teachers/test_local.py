"""A model in memory answers prompts as a teacher needs them answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from instructrec.instructions.teachers.base import Answer, Message, Prompt
from instructrec.instructions.teachers.local import LocalCompletions
from instructrec.protocols import Chat, Generated


class Backwards:
    """Answers the last prompt first, with its words turned around."""

    def generate(
        self, chats: Sequence[Chat], max_new_tokens: Sequence[int]
    ) -> Iterator[tuple[int, Generated]]:
        for at in reversed(range(len(chats))):
            words = chats[at][-1][1]
            yield at, Generated(words[::-1], len(words), max_new_tokens[at], "")


def test_answers_come_with_their_prompts_numbers_and_tokens() -> None:
    model = LocalCompletions("x", generator=Backwards())
    prompts = [Prompt((Message("user", "abc"),), 7), Prompt((Message("user", "de"),), 9)]
    assert list(model.complete(prompts)) == [(1, Answer("ed", 2, 9)), (0, Answer("cba", 3, 7))]
    assert list(model.complete([])) == []


def test_the_parameters_tell_other_weights_and_other_ways_of_choosing_words(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = LocalCompletions(tmp_path).parameters
    assert first == LocalCompletions(tmp_path).parameters
    assert first != LocalCompletions(tmp_path, temperature=0.4).parameters
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert first != LocalCompletions(tmp_path).parameters


def test_no_torch_is_imported_before_the_first_prompt() -> None:
    code = (
        "import sys; from instructrec.instructions.teachers.local import LocalCompletions; "
        "LocalCompletions('nowhere').parameters; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
