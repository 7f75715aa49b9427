"""Against an OpenAI-compatible server that is not ours: `transformers serve`, a random model."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from worlds import asks_of

from instructrec.instructions.teachers.base import Message, Prompt
from instructrec.instructions.teachers.cache import AnswerCache
from instructrec.instructions.teachers.language_model import LanguageModelTeacher
from instructrec.instructions.teachers.openai import OpenAICompletions
from instructrec.instructions.teachers.prompting import Job, PromptBook

if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
    pytest.skip("`transformers serve` needs fastapi and uvicorn", allow_module_level=True)

pytestmark = pytest.mark.slow


def make_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    bpe.train_from_iterator(
        ["warm quiet music"],
        trainers.BpeTrainer(special_tokens=["<s>", "</s>"], initial_alphabet=letters),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_attention_heads=2, bos_token_id=0, eos_token_id=1, **shape
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("served") / "model"
    make_model(folder)
    port = free_port()
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", str(folder), "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(300):
            try:
                opener.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.kill()
        process.wait()


def test_it_answers_with_what_its_model_says(server: tuple[str, str]):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    address, folder = server
    completions = OpenAICompletions(folder, address, timeout=60)
    texts = ["warm music", "quiet!"]
    asked = [Prompt((Message("user", text),), 6) for text in texts]
    got = dict(completions.complete(asked))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for number, text in enumerate(texts):
        chat = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        made = model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
        answer = got[number]
        assert answer.text == tokenizer.decode(made, skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.completion_tokens) == (ids.shape[1], len(made))


class Short(PromptBook):
    """Prompts whose answers are cut off soon: the model talks nonsense anyway."""

    def prompt(self, job: Job) -> Prompt:
        return replace(super().prompt(job), max_tokens=8)


def test_its_nonsense_is_kept_asked_again_twice_and_left_to_rules(
    server: tuple[str, str], tmp_path: Path
):
    address, folder = server
    book = Short(PromptBook.load("en")._wordings)
    completions = OpenAICompletions(folder, address, timeout=60)
    teacher = LanguageModelTeacher(completions, book, AnswerCache(tmp_path))
    written = teacher.write(asks_of(1))
    assert [one.by for one in written] == ["rules"] * 5
    assert all(one.text for one in written)
    paid = teacher.budget.answers
    assert 2 < paid <= 6  # Asked again with the same wrong answer is the same request.
    assert teacher.write(asks_of(1)) == written
    assert teacher.budget.answers == paid
