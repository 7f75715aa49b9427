"""Tuning makes a whole model folder, the same one each time, however often it is killed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from instructrec.backbones import SHAPES, create
from instructrec.data.dataset import Dataset
from instructrec.errors import FolderError, UsageError
from instructrec.folders import read_json, read_manifest, verify
from instructrec.instructions.corpus import Corpus
from instructrec.instructions.requests import make_requests
from instructrec.instructions.schema import Scenario
from instructrec.ranking.ranker import Ranker
from instructrec.ranking.scoring import ScoringConfig
from instructrec.tuning import SavePoints, TuneConfig, Tuned, tune, untuned

from .conftest import make_dataset, quick

WEIGHTS = "model.safetensors"


class Notes:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items, title, total=None):
        yield from items

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "model"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    from .conftest import MICRO

    SHAPES.update(MICRO)
    tune(corpus, out, quick(steps=80, validations=2, validation_users=60, patience=None))
    torch.set_num_threads(threads)
    return out


def test_tuning_learns_what_the_logs_tell(model: Path) -> None:
    losses = read_json(model / "loss.json")
    first, last = losses["training"][0], losses["training"][-1]
    assert last["response_loss"] < 0.5 * first["response_loss"]
    assert last["span_loss"] < 0.5 * first["span_loss"]
    assert losses["best"]["HR@1"] > 0.25
    assert losses["best"] in losses["validation"]


def test_a_model_folder_is_whole_and_says_what_made_it(model: Path, corpus: Corpus) -> None:
    verify(model)
    manifest = read_manifest(model, "model")
    assert manifest["protocol"] == "leave-one-out"
    assert (manifest["backbone"], manifest["family"]) == ("micro-causal", "causal")
    assert manifest["steps"] == manifest["plan"]["steps"] == 80
    assert manifest["tokens"] > 80 * 100
    assert set(manifest["inputs"]) == {"corpus", "dataset"}
    assert (model / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert read_json(model / "log" / "timings.json")["tokens_per_second"] > 0
    assert not (model / "state").exists()
    assert not list(model.glob(".*"))


def test_a_plain_transformers_program_can_load_the_best_and_the_last_weights(model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    best, last = (AutoModelForCausalLM.from_pretrained(path) for path in (model, model / "last"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert len(tokenizer) == best.config.vocab_size == last.config.vocab_size
    is_last_best = read_manifest(model)["best_step"] == 80
    same = torch.equal(best.get_input_embeddings().weight, last.get_input_embeddings().weight)
    assert same is is_last_best


def test_the_card_tells_how_it_was_made_and_what_it_reaches(model: Path) -> None:
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    for expected in ("## Limits", "AutoModelForCausalLM", "80 of 80 planned", "P1,I0,T3", "HR@1"):
        assert expected in card
    assert str(model.parent) not in card


def test_the_ranker_ranks_as_validation_says(model: Path, dataset: Dataset) -> None:
    scoring = ScoringConfig.load(model)
    assert set(scoring.templates) == {"P0,I2,T3", "P1,I0,T3"}
    ranker = Ranker.load(model, dataset.catalogue)
    scenario = Scenario.parse("P1,I0,T3")
    requests = make_requests(
        dataset, "leave-one-out", "validation", scenario, _no_texts(), limit=40
    )
    rng = np.random.default_rng(0)
    others = rng.integers(0, len(dataset.catalogue), size=(len(requests), 9))
    candidates = np.concatenate([requests.targets[:, None], others], axis=1)
    best = ranker.rank(requests.instructions, candidates)[:, 0]
    assert (best == requests.targets).mean() > 0.2


def _no_texts():
    import polars as pl

    from instructrec.instructions.annotations import ANNOTATION_SCHEMA

    return pl.DataFrame(schema=ANNOTATION_SCHEMA)


def test_the_backbone_as_it_was_can_be_made_again(model: Path) -> None:
    before = untuned(model)
    tokenizer = Ranker.load(model, None).backbone.tokenizer  # type: ignore[arg-type]
    fresh = create("micro-causal", tokenizer, seed=0)
    tuned = load_file(model / WEIGHTS)
    for name, value in before.model.state_dict().items():
        assert torch.equal(value, fresh.model.state_dict()[name])
    name = "model.embed_tokens.weight"
    assert not torch.equal(before.model.state_dict()[name], tuned[name])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    corpus: Corpus, tmp_path: Path
) -> None:
    files = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tune(corpus, tmp_path / name, quick(seed=seed, steps=5, dropout=0.1))
        files[name] = read_manifest(tmp_path / name)["files"]
    assert files["a"] == files["b"]
    assert files["a"][WEIGHTS] != files["c"][WEIGHTS]


def test_how_often_the_state_is_saved_changes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    config = quick(steps=6, dropout=0.1)
    tune(corpus, tmp_path / "seldom", config, saves=SavePoints(seconds=1e9))
    tune(corpus, tmp_path / "often", config, saves=SavePoints(seconds=0))
    seldom, often = (read_manifest(tmp_path / name)["files"] for name in ("seldom", "often"))
    assert seldom == often


KILLED = """
import sys, time
from pathlib import Path
import torch
from instructrec.backbones import SHAPES
from instructrec.backbones.shapes import Shape
from instructrec.instructions.corpus import Corpus
from instructrec.tuning import SavePoints, TuneConfig, tune
from instructrec.tuning.loop import Updater
torch.set_num_threads(1)
SHAPES["micro-causal"] = Shape(width=32, heads=2, layers=2, feed_forward=64)
update = Updater.update
def slowly(*given):
    time.sleep(0.05)
    return update(*given)
Updater.update = slowly
corpus, out, config = sys.argv[1:]
tune(Corpus(corpus), Path(out), TuneConfig.model_validate_json(config), saves=SavePoints(steps=4))
"""


def kill_at(corpus: Corpus, out: Path, config: TuneConfig, step: int) -> int:
    """Tune in another process, kill -9 it once ``step`` is saved; the step it had saved last."""
    command = [sys.executable, "-c", KILLED, str(corpus.folder), str(out), config.model_dump_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    position = out.with_name(f".{out.name}.part") / "state" / "position.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if position.is_file() and json.loads(position.read_text())["step"] >= step:
            break
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    return int(json.loads(position.read_text())["step"])


def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(
    corpus: Corpus, tmp_path: Path
) -> None:
    config = quick(steps=40, dropout=0.1, validations=4, patience=None)
    # After the first validation, so that the best weights have to survive as well.
    saved = kill_at(corpus, tmp_path / "broken", config, step=12)
    assert 12 <= saved < 40
    notes = Notes()
    tune(corpus, tmp_path / "broken", config, progress=notes)
    assert f"going on after step {saved} of 40" in notes.lines
    tune(corpus, tmp_path / "unbroken", config)
    broken, unbroken = (read_manifest(tmp_path / name) for name in ("broken", "unbroken"))
    assert broken["files"] == unbroken["files"]


def test_a_budget_becomes_steps_once_and_is_obeyed_on_resume(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["instructrec.tuning.tune"]
    monkeypatch.setattr(module, "measure", lambda *_: 0.05)
    config = quick(budget=6, validation_users=4, choice_users=20)

    def fail(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(module, "choose", fail)
        with pytest.raises(KeyboardInterrupt):
            tune(corpus, tmp_path / "m", config)
    # Were it measured again, it would now come out a thousand times as slow.
    monkeypatch.setattr(module, "measure", lambda *_: 50.0)
    tuned = tune(corpus, tmp_path / "m", config)
    assert 20 < tuned.plan.steps < 120
    manifest = read_manifest(tmp_path / "m")
    assert manifest["plan"]["steps"] == tuned.plan.steps
    assert manifest["settings"]["budget"] == 6


def test_a_budget_takes_the_fastest_number_of_threads_and_keeps_to_it(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def measured(*_: object) -> float:
        tried.append(torch.get_num_threads())
        return {3: 0.9, 2: 0.9, 1: 0.1}[tried[-1]]

    monkeypatch.setattr(sys.modules["instructrec.tuning.tune"], "measure", measured)
    torch.set_num_threads(3)
    tuned = tune(corpus, tmp_path / "m", quick(budget=5, validation_users=4, choice_users=20))
    assert tried == [3, 1]
    assert torch.get_num_threads() == 3
    assert tuned.plan.threads == 1
    assert read_json(tmp_path / "m" / "log" / "timings.json")["threads"] == 1


def test_tuning_stops_when_validation_gets_no_better(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = iter([0.2, 0.5, 0.4, 0.5, 0.3, 0.9])
    monkeypatch.setattr(
        sys.modules["instructrec.tuning.loop"], "validate", lambda *_: {"P1,I0,T3": next(hits)}
    )
    tuned = tune(corpus, tmp_path / "m", quick(steps=60, validate_every=2, patience=3))
    assert tuned.state.stopped
    assert (tuned.state.step, tuned.state.best["step"]) == (10, 4)
    assert read_manifest(tmp_path / "m")["stopped_early"] is True
    best, last = (load_file(tmp_path / "m" / part / WEIGHTS) for part in ("", "last"))
    assert any(not torch.equal(best[name], last[name]) for name in best)


def test_epochs_are_counted_in_steps(corpus: Corpus, tmp_path: Path) -> None:
    tuned = tune(corpus, tmp_path / "m", quick(epochs=2, batch_tokens=4096))
    assert tuned.state.position[0] == 1
    tokens = tuned.state.tokens
    assert tuned.state.step >= math.ceil(tokens / 4096)


@pytest.mark.parametrize(
    "settings", [{"backbone": "micro-t5"}, {"dtype": "bfloat16"}], ids=["seq2seq", "bfloat16"]
)
def test_other_families_and_precisions_tune_as_well(
    corpus: Corpus, dataset: Dataset, tmp_path: Path, settings: dict[str, str]
) -> None:
    config = quick(steps=25, **settings)
    tuned = tune(corpus, tmp_path / "m", config)
    curve = tuned.state.curve
    assert curve[-1]["response_loss"] < curve[0]["response_loss"]
    assert ("span_loss" in curve[0]) is ("backbone" not in settings)
    assert Ranker.load(tmp_path / "m", dataset.catalogue).backbone.model.dtype == torch.float32


def test_adapters_are_trained_alone_and_merged(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    config = quick(backbone=str(model), lora=2, steps=6, learning_rate=1e-2)
    tune(corpus, tmp_path / "m", config)
    before, after = load_file(model / WEIGHTS), load_file(tmp_path / "m" / WEIGHTS)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "proj" in name}
    assert untuned(tmp_path / "m").model.state_dict().keys() >= set(before)


def test_held_out_users_decide_nothing_and_are_told(corpus: Corpus, tmp_path: Path) -> None:
    users = corpus.rows("validation")["user_id"].unique().sort().to_list()
    tuned: list[Tuned] = [
        tune(corpus, tmp_path / name, quick(steps=2), held_out=held)
        for name, held in (("all", ()), ("few", users[:80]))
    ]
    settings = [read_manifest(one.folder)["settings"]["held_out"]["users"] for one in tuned]
    assert settings == [0, 80]
    assert tuned[0].choice.tried != tuned[1].choice.tried


def test_a_corpus_of_another_dataset_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "other", seed=9)
    with pytest.raises(UsageError, match="was not made from"):
        tune(corpus, tmp_path / "m", quick(), dataset=other)
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_taken_is_left_alone(model: Path, corpus: Corpus) -> None:
    before = read_manifest(model)
    with pytest.raises(FolderError, match="exists already"):
        tune(corpus, model, quick())
    assert read_manifest(model) == before
