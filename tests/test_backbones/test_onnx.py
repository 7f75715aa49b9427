"""Exported models score as the model they were made of: float32 to three digits, int8 in rank."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

pytest.importorskip("onnx", reason="needs the extra instructrec[onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra instructrec[onnx]")
pytest.importorskip("onnxscript", reason="needs the extra instructrec[onnx]")

from instructrec.backbones import SHAPES, Backbone, create, load
from instructrec.backbones.growing import RereadGrowth, plant
from instructrec.backbones.limits import Limits
from instructrec.backbones.onnx import GRAPHS, export_onnx
from instructrec.backbones.onnx.graphs import needs
from instructrec.backbones.shapes import Shape
from instructrec.errors import InstructRecError, ModelError, UsageError

from .conftest import TITLES, history

Make = Callable[[str], Path]
Pair = tuple[Backbone, Backbone]


def _pair(backbone: Backbone, folder: Path, int8: bool = False) -> Pair:
    return backbone, load(export_onnx(backbone, folder, int8=int8))


@pytest.fixture(scope="module", params=["flan", "tiny-t5", "llama"])
def pair(
    request: pytest.FixtureRequest,
    tokenizer: Any,
    make_checkpoint: Make,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    """A backbone and its float32 export: own head, tied head, grouped queries."""
    if request.param == "tiny-t5":
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(SHAPES, "tiny-t5", Shape(32, 4, 1, 48))
            backbone = create("tiny-t5", tokenizer, seed=1)
    else:
        backbone = load(make_checkpoint(request.param))
    return _pair(backbone, tmp_path_factory.mktemp("export") / request.param)


def _world(backbone: Backbone) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Prompts of many lengths, shared beginnings, duplicates, an empty title, one candidate."""
    prompts = [history(list(TITLES[:n])) for n in (1, 7, 3)] + ["A gift for my son."]
    titles = [TITLES, ["", "Turbo Kart", "Turbo Kart"], TITLES[:1], ["long " * 60, "short"]]
    return backbone.prompt_ids(prompts), [backbone.candidate_ids(list(t)) for t in titles]


def _check(pair: Pair, prompts: list[list[int]], lists: list[list[list[int]]], **how: bool) -> None:
    expected, found = (one.token_log_likelihoods(prompts, lists, **how) for one in pair)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.lengths, other.lengths)
        np.testing.assert_allclose(one.sums, other.sums, atol=1e-3, rtol=0)


def test_float32_sums_equal_those_of_torch(pair: Pair) -> None:
    prompts, lists = _world(pair[0])
    _check(pair, prompts, lists)
    _check(pair, prompts, lists, constrained=True)
    _check(pair, prompts[2:3], lists[2:3])
    _check(pair, prompts[:1], [[]])


def test_it_reads_the_same_ids(pair: Pair) -> None:
    backbone, exported = pair
    assert exported.family == backbone.family
    assert _world(exported) == _world(backbone)


def test_blocks_smaller_than_the_tree_change_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    lists = [
        [[*rng.integers(5, 12, rng.integers(0, 7)).tolist(), 1] for _ in range(count)]
        for count in (120, 4, 40)
    ]
    prompts = pair[0].prompt_ids(["one", history(list(TITLES[:4])), "three"])
    monkeypatch.setattr(pair[1], "_limits", Limits(20, 16, 1_000, 7))
    _check(pair, prompts, lists)


def test_duplicates_score_equally(pair: Pair) -> None:
    prompts, lists = _world(pair[0])
    found = pair[1].token_log_likelihoods(prompts, lists)
    assert found[1].sums[1] == found[1].sums[2]


def test_logits_and_a_bound_on_memory_are_there(pair: Pair) -> None:
    backbone, exported = pair
    prompts = backbone.prompt_ids(["A gift for my son."])
    with torch.inference_mode():
        logits = [one.logits(one.read(prompts).last) for one in pair]
    torch.testing.assert_close(*logits, atol=1e-3, rtol=0)
    before = exported.limits
    exported.bound_memory(1)
    assert exported.limits.prompt_tokens < before.prompt_tokens
    exported.limits = before


def test_trees_grow_below_its_prompts(pair: Pair) -> None:
    prompts = pair[0].prompt_ids(["A gift for my son.", "Another"])
    tokens = torch.tensor([[5, 6], [7, 8]])
    seen = torch.ones(1, 2, 2, dtype=torch.bool).tril().repeat(2, 1, 1)
    states = []
    for one in pair:
        with torch.inference_mode():
            growth = plant(one, prompts, deepest=4)
            states.append(growth.grow(tokens, torch.tensor([[0, 1], [0, 1]]), seen))
    assert isinstance(growth, RereadGrowth)
    torch.testing.assert_close(*states, atol=1e-3, rtol=1e-3)


def test_what_it_cannot_do_is_refused_in_one_line(pair: Pair, tmp_path: Path) -> None:
    exported = pair[1]
    for refused in (
        lambda: exported.encode("a", "b"),
        lambda: exported.collate([]),
        lambda: exported.loss_parts(None),  # type: ignore[arg-type]
        lambda: exported.generate(["a"]),
        lambda: exported.save(tmp_path),
        lambda: export_onnx(exported, tmp_path),
    ):
        with pytest.raises(UsageError, match="exported model") as caught:
            refused()
        assert "\n" not in str(caught.value)
        assert caught.value.cure


@pytest.fixture(scope="module")
def tuned(tokenizer: Any) -> Backbone:
    """A small T5 that knows which of the titles follows which."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "tiny-t5", Shape(64, 4, 1, 96))
        backbone = create("tiny-t5", tokenizer, seed=0)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(backbone.model.parameters(), lr=3e-3)
    backbone.model.train()
    for _ in range(60):
        starts = rng.integers(0, len(TITLES), 16).tolist()
        examples = [
            backbone.encode(history([TITLES[at]]), TITLES[(at + 1) % len(TITLES)]) for at in starts
        ]
        parts = backbone.loss_parts(backbone.collate(examples))
        (parts.response_nll / parts.response_tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return backbone


@pytest.fixture(scope="module")
def int8(tuned: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(tuned, tmp_path_factory.mktemp("int8") / "model", int8=True)


def test_int8_ranks_as_the_model_that_was_tuned(tuned: Backbone, int8: Path) -> None:
    words = ["Turbo", "Kart", "Garden", "Library", "Night", "Deluxe", "Silent", "Harbor"]
    rng = np.random.default_rng(1)
    titles = [*TITLES, *(" ".join(rng.choice(words, 3)) for _ in range(40))]
    prompts = tuned.prompt_ids([history([title]) for title in TITLES])
    lists = [tuned.candidate_ids(titles)] * len(prompts)
    expected, found = (one.token_log_likelihoods(prompts, lists) for one in (tuned, load(int8)))
    alike = [spearmanr(a.sums, b.sums).statistic for a, b in zip(expected, found, strict=True)]
    assert np.mean(alike) >= 0.99
    assert any((a.sums != b.sums).any() for a, b in zip(expected, found, strict=True))


def test_int8_is_smaller_and_says_what_it_is(tuned: Backbone, int8: Path) -> None:
    graphs = json.loads((int8 / GRAPHS).read_text())
    assert graphs["format"] == "onnx-int8"
    weights = sum(value.numel() for value in tuned.model.parameters())
    assert (int8 / "weights.onnx_data").stat().st_size < 2.5 * weights  # float32 takes 4
    names = {path.suffix for path in int8.iterdir()}
    assert names == {".onnx", ".onnx_data", ".json"}


def test_no_file_names_a_path_of_the_machine(int8: Path) -> None:
    for path in int8.glob("*.onnx"):
        assert b"/instructrec/" not in path.read_bytes()
        assert b".py" not in path.read_bytes()


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(tuned: Backbone, int8: Path, tmp_path: Path) -> None:
    again = export_onnx(tuned, tmp_path / "again", int8=True)
    for path in int8.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["read.onnx", "weights.onnx_data", "config.json"])
def test_a_missing_file_is_one_clear_line(int8: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(int8, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["follow.onnx", "weights.onnx_data", GRAPHS])
def test_a_damaged_file_is_one_clear_line(int8: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(int8, tmp_path / "model")
    (folder / name).write_bytes(b"{}" + (folder / name).read_bytes()[:-9])
    with pytest.raises(InstructRecError, match=name) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_another_dtype_or_device_is_refused(int8: Path) -> None:
    with pytest.raises(UsageError, match="exported model"):
        load(int8, dtype="bfloat16")
    assert load(int8, device="auto").device.type == "cpu"


def test_without_the_extra_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'instructrec\[onnx\]'"):
        needs("onnxruntime")


def test_a_model_that_shares_no_prompt_is_refused(make_checkpoint: Make, tmp_path: Path) -> None:
    backbone = load(make_checkpoint("gpt2"))
    backbone.can_share = False  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="cannot share"):
        export_onnx(backbone, tmp_path / "out")


def test_a_model_of_a_narrow_window_is_refused(make_checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="looks back over 16 tokens"):
        export_onnx(load(make_checkpoint("mistral")), tmp_path / "out")
