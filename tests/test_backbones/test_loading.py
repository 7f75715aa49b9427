"""Checkpoints of others: found, checked, and the known traps of T5 avoided."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from instructrec.backbones import load
from instructrec.errors import ModelError, UsageError

from .conftest import TITLES, plain_sum

Make = Callable[[str], Path]


def _copy(make_checkpoint: Make, kind: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(kind), tmp_path / kind))


def _own_head(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["lm_head.weight"]


def test_a_flan_checkpoint_keeps_its_own_head(make_checkpoint: Make) -> None:
    folder = make_checkpoint("flan")
    backbone = load(folder)
    assert torch.equal(backbone.model.lm_head.weight, _own_head(folder))
    assert not torch.equal(backbone.model.lm_head.weight, backbone.model.shared.weight)
    assert not backbone.model.config.scale_decoder_outputs


def test_a_flan_checkpoint_keeps_its_head_and_scores_when_saved_again(
    make_checkpoint: Make, tmp_path: Path
) -> None:
    backbone = load(make_checkpoint("flan"))
    backbone.save(tmp_path)
    read = load(tmp_path)
    assert torch.equal(read.model.lm_head.weight, _own_head(make_checkpoint("flan")))
    prompt, ids = backbone.prompt_ids(["hello"])[0], backbone.candidate_ids(["Turbo Kart"])[0]
    assert plain_sum(read, prompt, ids) == pytest.approx(plain_sum(backbone, prompt, ids))


def test_resizing_the_embeddings_destroys_a_flan_head_and_nothing_here_does_it(
    make_checkpoint: Make,
) -> None:
    """The trap is real: if transformers mends it, this test says so."""
    model = load(make_checkpoint("flan")).model
    head = model.lm_head.weight.clone()
    model.resize_token_embeddings(model.config.vocab_size + 8)
    assert not torch.equal(model.lm_head.weight[: len(head)], head)
    source = Path(load.__code__.co_filename).parent
    assert not any(
        "resize_token_embeddings" in path.read_text(encoding="utf-8")
        for path in source.parent.rglob("*.py")
    )


def test_an_original_t5_scales_its_tied_head(make_checkpoint: Make) -> None:
    backbone = load(make_checkpoint("t5"))
    assert backbone.model.config.scale_decoder_outputs
    assert backbone.model.lm_head.weight is backbone.model.shared.weight


def test_float16_t5_is_refused_with_the_reason(make_checkpoint: Make) -> None:
    for kind in ("t5", "flan", "mt5"):
        with pytest.raises(UsageError, match="overflows"):
            load(make_checkpoint(kind), dtype="float16")


@pytest.mark.parametrize("kind", ["flan", "llama"])
def test_bfloat16_loads_and_scores_in_float32(make_checkpoint: Make, kind: str) -> None:
    exact, rough = (load(make_checkpoint(kind), dtype=d) for d in ("float32", "bfloat16"))
    assert rough.model.dtype == torch.bfloat16
    prompt, ids = exact.prompt_ids(["hello"]), [exact.candidate_ids(list(TITLES))]
    (one,) = exact.token_log_likelihoods(prompt, ids)
    (other,) = rough.token_log_likelihoods(prompt, ids)
    assert abs(one.sums - other.sums).max() < 0.03 * abs(one.sums).max()


def test_sharded_weights_load(make_checkpoint: Make, tmp_path: Path) -> None:
    backbone = load(make_checkpoint("llama"))
    backbone.model.save_pretrained(tmp_path, max_shard_size="20KB")
    backbone.tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    state, read = backbone.model.state_dict(), load(tmp_path).model.state_dict()
    assert all(torch.equal(state[key], read[key]) for key in state)


def test_a_lora_adapter_is_merged_into_its_base(make_checkpoint: Make, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = load(make_checkpoint("llama"))
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(base.model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    adapted.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps(content | {"base_model_name_or_path": str(make_checkpoint("llama"))})
    )
    merged = load(tmp_path)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(merged.model(ids).logits, adapted(ids).logits)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_a_download(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def _a_weight_is_missing(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, path, metadata={"format": "pt"})


def _a_weight_is_not_a_number(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state["model.norm.weight"][0] = float("nan")
    save_file(state, path, metadata={"format": "pt"})


def _another_architecture(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "bart"}))


def _unknown_architecture(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "no-such-thing"}))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        _no_weights,
        _half_a_download,
        _a_weight_is_missing,
        _a_weight_is_not_a_number,
        _another_architecture,
        _unknown_architecture,
        _no_config,
        _no_tokenizer,
    ],
)
def test_a_spoilt_checkpoint_is_one_clear_error(
    make_checkpoint: Make, tmp_path: Path, spoil: Callable[[Path], Any]
) -> None:
    folder = _copy(make_checkpoint, "llama", tmp_path)
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there_and_an_unknown_dtype_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        load(tmp_path / "absent")
    with pytest.raises(UsageError, match="int3"):
        load(tmp_path, dtype="int3")


def test_a_mistyped_folder_is_told_at_once_and_never_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name in ("run/modle", "runs/demo/model", "./model", str(tmp_path / "model")):
        with pytest.raises(UsageError, match="there is no folder"):
            load(name)
