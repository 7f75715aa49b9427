"""An update follows exactly the loss that plain transformers gives; states are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from instructrec.backbones import Backbone
from instructrec.errors import ModelError
from instructrec.instructions.corpus import Corpus
from instructrec.training import SavePoints, State, Store, pack, take, unpack
from instructrec.tuning.loop import Updater, measure
from instructrec.tuning.start import start_backbone
from instructrec.tuning.stream import Step, Stream

from .conftest import quick


def started(corpus: Corpus, dataset, tmp_path: Path, **settings) -> tuple[Updater, Stream]:
    config = quick(**settings)
    backbone = start_backbone(corpus, dataset, config, tmp_path / "tokenizer")
    return Updater(backbone, config, 1e-2), Stream(corpus, backbone, config)


def plain_loss(backbone: Backbone, step: Step, weight: float) -> float:
    """The loss one example at a time, by transformers' own forward pass."""
    total = tokens = 0.0
    for example in (example for piece in step for example in piece):
        prompt, response = torch.tensor([example.prompt]), torch.tensor([example.response])
        if backbone.family == "seq2seq":
            out = backbone.model(input_ids=prompt, labels=response)
            total, tokens = (
                total + out.loss.item() * len(example.response),
                tokens + len(example.response),
            )
            continue
        ids = torch.cat([prompt, response], dim=1)
        nll = F.cross_entropy(backbone.model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        total += nll[len(example.prompt) - 1 :].sum().item()
        tokens += len(example.response)
        for start, end in example.spans:
            total += weight * nll[start - 1 : end - 1].sum().item()
            tokens += weight * (end - start)
    return total / tokens


@pytest.mark.parametrize(("backbone", "weight"), [("micro-causal", 0.5), ("micro-t5", 1.0)])
def test_the_loss_is_that_of_plain_transformers(
    corpus: Corpus, dataset, tmp_path: Path, backbone: str, weight: float
) -> None:
    updater, stream = started(corpus, dataset, tmp_path, backbone=backbone, span_loss_weight=weight)
    _, step = next(stream.walk())
    with torch.no_grad():
        expected = plain_loss(updater.backbone, step, weight)
    result = updater.update(step, 0.0)
    assert len(step) == updater.config.pieces > 1
    assert result.loss == pytest.approx(expected, rel=1e-5)
    assert (result.span_tokens > 0) is (backbone == "micro-causal")


def test_measuring_leaves_no_trace(corpus: Corpus, dataset, tmp_path: Path) -> None:
    updater, stream = started(corpus, dataset, tmp_path)
    before, state = take(updater.parameters), torch.get_rng_state()
    assert measure(updater, stream, 0.01) > 0
    assert all(torch.equal(before[name], p) for name, p in updater.parameters.items())
    assert not updater.optimizer.state
    assert torch.equal(state, torch.get_rng_state())


def test_a_loss_that_is_no_number_stops_training_in_one_line(
    corpus: Corpus, dataset, tmp_path: Path
) -> None:
    updater, stream = started(corpus, dataset, tmp_path)
    with torch.no_grad():
        next(iter(updater.parameters.values())).fill_(float("nan"))
    with pytest.raises(ModelError, match="Lower the learning rate"):
        updater.update(next(stream.walk())[1], 0.1)


def test_norms_and_biases_do_not_decay(corpus: Corpus, dataset, tmp_path: Path) -> None:
    updater, _ = started(corpus, dataset, tmp_path)
    matrices, others = updater.optimizer.param_groups
    assert {value.ndim for value in matrices["params"]} == {2}
    assert {value.ndim for value in others["params"]} == {1}
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.01, 0.0)


def test_a_packed_state_goes_on_bit_for_bit(corpus: Corpus, dataset, tmp_path: Path) -> None:
    updater, stream = started(corpus, dataset, tmp_path, dropout=0.2)
    steps = [step for _, (_, step) in zip(range(4), stream.walk(), strict=False)]
    for step in steps[:2]:
        updater.update(step, 1e-2)
    store = Store(tmp_path / "state")
    store.save(State(step=2), pack(updater.parameters, updater.optimizer))
    for step in steps[2:]:
        updater.update(step, 1e-2)
    expected = take(updater.parameters)

    other, _ = started(corpus, dataset, tmp_path, dropout=0.2)
    found = store.load()
    assert found is not None
    unpack(found[1], other.parameters, other.optimizer)
    for step in steps[2:]:
        other.update(step, 1e-2)
    for name, value in take(other.parameters).items():
        assert torch.equal(value, expected[name])


def test_a_state_half_written_does_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load() is None
    store.save(State(step=1, curve=[{"loss": 0.1}]), {"weight.a": torch.ones(2)})
    # What a kill leaves in the middle of the next save: a part, or tensors nothing points to.
    (tmp_path / "step-00000002.safetensors.part").write_bytes(b"half")
    (tmp_path / "step-00000003.safetensors").write_bytes(b"whole, but not committed")
    found = store.load()
    assert found is not None
    assert found[0].step == 1
    assert found[0].curve == [{"loss": 0.1}]
    store.save_best(4, {"a": torch.zeros(1)})
    store.save(State(step=4, best={"step": 4, "HR@1": 0.5}), {"weight.a": torch.zeros(2)})
    left = sorted(path.name for path in tmp_path.glob("*.safetensors*"))
    assert left == ["best-00000004.safetensors", "step-00000004.safetensors"]


def test_saves_are_due_by_time_or_by_step() -> None:
    assert SavePoints(seconds=10).is_due(3, since=11)
    assert not SavePoints(seconds=10).is_due(3, since=9)
    assert SavePoints(seconds=10, steps=3).is_due(6, since=0)
