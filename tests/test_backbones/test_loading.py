"""Checkpoints of others: found, checked, and the known traps of T5 avoided."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from instructrec.backbones import Backbone, load, train_tokenizer
from instructrec.backbones.devices import device_named
from instructrec.backbones.loading import _check_weights
from instructrec.backbones.merging import merge_adapter
from instructrec.cli.app import run as run_cli
from instructrec.errors import ModelError, UsageError
from instructrec.evaluation.of_run import _tuned_here
from instructrec.folders import read_manifest, verify

from .conftest import TITLES, foreign_tokenizer, plain_sum

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


def _sums(backbone: Backbone) -> np.ndarray:
    prompts = backbone.prompt_ids(["A gift for my son.", "hello"])
    ids = backbone.candidate_ids(list(TITLES))
    found = backbone.token_log_likelihoods(prompts, [ids, ids])
    return np.stack([one.sums for one in found])


@pytest.mark.parametrize("kind", ["flan", "t5", "llama"])
def test_sharded_weights_give_the_same_scores(
    make_checkpoint: Make, tmp_path: Path, kind: str
) -> None:
    backbone = load(make_checkpoint(kind))
    backbone.model.save_pretrained(tmp_path, max_shard_size="20KB")
    backbone.tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert np.array_equal(_sums(load(tmp_path)), _sums(backbone))


@pytest.fixture
def make_adapter(make_checkpoint: Make, tmp_path: Path) -> Callable[[str], tuple[Path, Backbone]]:
    """Write a LoRA adapter that changes a model much; its folder, and the model with peft's own
    unmerged layers in it."""

    def make(kind: str) -> tuple[Path, Backbone]:
        from peft import LoraConfig, get_peft_model

        base = load(make_checkpoint(kind))
        layers = {
            "flan": ["q", "v", "wi_0"],
            "t5": ["q", "v", "wi"],
            "mt5": ["q", "v"],
            "llama": ["q_proj", "v_proj"],
            "gpt2": ["c_attn"],
        }
        config = LoraConfig(r=2, target_modules=layers[kind], fan_in_fan_out=kind == "gpt2")
        adapted = get_peft_model(base.model, config)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            for name, weight in adapted.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.5)
        folder = tmp_path / f"{kind}-adapter"
        adapted.save_pretrained(folder)
        path = folder / "adapter_config.json"
        named = {"base_model_name_or_path": str(make_checkpoint(kind))}
        path.write_text(json.dumps(json.loads(path.read_text()) | named))
        return folder, base

    return make


@pytest.mark.parametrize("kind", ["flan", "t5", "llama", "gpt2"])
def test_a_merged_adapter_scores_as_the_unmerged_one_does(
    make_checkpoint: Make, make_adapter: Callable[[str], tuple[Path, Backbone]], kind: str
) -> None:
    folder, unmerged = make_adapter(kind)
    assert any("lora" in name for name, _ in unmerged.model.named_parameters())
    merged = load(folder)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    np.testing.assert_allclose(_sums(merged), _sums(unmerged), atol=1e-3, rtol=0)
    prompt, ids = merged.prompt_ids(["hello"])[0], merged.candidate_ids(["Turbo Kart"])[0]
    assert abs(plain_sum(merged, prompt, ids) - plain_sum(unmerged, prompt, ids)) < 1e-3
    assert abs(_sums(merged) - _sums(load(make_checkpoint(kind)))).max() > 0.1


@pytest.mark.parametrize("kind", ["flan", "t5", "mt5", "llama"])
def test_a_merged_adapter_is_saved_as_an_ordinary_checkpoint(
    make_adapter: Callable[[str], tuple[Path, Backbone]], tmp_path: Path, kind: str
) -> None:
    folder, _ = make_adapter(kind)
    (folder / "scoring.json").write_text('{"rule": "mean"}')
    out = tmp_path / "merged"
    assert run_cli(["models", "merge", str(folder), "--out", str(out)]) == 0
    assert not (out / "adapter_config.json").exists()
    assert np.array_equal(_sums(load(out)), _sums(load(folder)))
    assert _tuned_here(out) is None  # evaluate may ask it under any protocol
    assert (out / "scoring.json").read_text() == '{"rule": "mean"}'
    assert run_cli(["models", "merge", str(out), "--out", str(tmp_path / "again")]) == 2
    assert not (tmp_path / "again").exists()


def test_a_merged_adapter_keeps_what_its_manifest_says_of_its_making(
    make_adapter: Callable[[str], tuple[Path, Backbone]], tmp_path: Path
) -> None:
    folder, _ = make_adapter("llama")
    held_out = {"users": 3, "hash": 7}
    making = {"protocol": "items", "inputs": {"corpus": "0123"}, "kind": "model", "seed": 4}
    making |= {"settings": {"held_out": held_out}, "rows": {"train": 9}, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(making))
    merge_adapter(folder, tmp_path / "merged")
    verify(tmp_path / "merged")
    found = read_manifest(tmp_path / "merged", "model")
    for name in ("protocol", "inputs", "seed", "rows"):
        assert found[name] == making[name]
    assert found["settings"]["held_out"] == held_out
    assert found["command"] == "instructrec models merge"


def test_an_adapter_of_another_model_or_with_pickled_weights_is_refused(
    make_checkpoint: Make, make_adapter: Callable[[str], tuple[Path, Backbone]]
) -> None:
    folder, _ = make_adapter("llama")
    path = folder / "adapter_model.safetensors"
    state = {key.replace("q_proj", "k_proj"): value for key, value in load_file(path).items()}
    save_file(state, path)
    with pytest.raises(ModelError, match="missing adapter keys"):
        load(folder)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load(folder)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_a_download(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def _a_weight_is_missing(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    del state[next(key for key in sorted(state) if ".layers.0.mlp" in key or ".0.layer.1" in key)]
    save_file(state, path, metadata={"format": "pt"})


def _a_weight_is_not_a_number(folder: Path) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    state[next(key for key in sorted(state) if "norm" in key)][0] = float("nan")
    save_file(state, path, metadata={"format": "pt"})


def _a_shard_is_missing(folder: Path) -> None:
    backbone = load(folder)
    (folder / "model.safetensors").unlink()
    backbone.model.save_pretrained(folder, max_shard_size="20KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def _the_weights_are_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>" * 9)


def _the_tokenizer_is_anothers(folder: Path) -> None:
    train_tokenizer([f"word{n} other{n}" for n in range(500)] * 2, 900).save_pretrained(folder)


def _the_weights_have_another_shape(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    key = "intermediate_size" if "intermediate_size" in content else "d_ff"
    path.write_text(json.dumps(content | {key: 96}))


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
        _a_shard_is_missing,
        _the_weights_are_no_safetensors,
        _the_tokenizer_is_anothers,
        _the_weights_have_another_shape,
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
@pytest.mark.parametrize("kind", ["flan", "llama"])
def test_a_spoilt_checkpoint_is_one_clear_error(
    make_checkpoint: Make, tmp_path: Path, kind: str, spoil: Callable[[Path], Any]
) -> None:
    folder = _copy(make_checkpoint, kind, tmp_path)
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def _others() -> dict[str, Any]:
    import transformers as t

    small: dict[str, Any] = dict(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    pair: dict[str, Any] = dict(vocab_size=400, d_model=16, encoder_layers=1, decoder_layers=1)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2)
    return {
        "bert": t.BertForMaskedLM(t.BertConfig(**small, intermediate_size=16)),
        "roberta": t.RobertaForMaskedLM(t.RobertaConfig(**small, intermediate_size=16)),
        "bart": t.BartForConditionalGeneration(t.BartConfig(**pair, **heads)),
        "whisper": t.WhisperForConditionalGeneration(
            t.WhisperConfig(
                **pair,
                **heads,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
                decoder_start_token_id=1,
                suppress_tokens=None,
                begin_suppress_tokens=None,
            )
        ),
        "vit": t.ViTForImageClassification(
            t.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        ),
    }


@pytest.mark.parametrize("kind", ["bert", "roberta", "bart", "whisper", "vit"])
def test_models_that_give_no_likelihoods_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    _others()[kind].save_pretrained(tmp_path)
    foreign_tokenizer(t5=True).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"{kind}.*Use a T5, mT5 or causal checkpoint") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UsageError, match="finds no GPU"):
            load(tmp_path, device=name)
    for name in ("gpu", "cpu:1", "cuda:x"):
        with pytest.raises(UsageError, match=f"no device '{name}'"):
            load(tmp_path, device=name)
    assert device_named("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(device_named("auto")) == "cuda"
    assert str(device_named("cuda:0")) == "cuda:0"
    with pytest.raises(UsageError, match="has 1 GPU"):
        device_named("cuda:1")


def test_weights_that_do_not_fit_a_device_are_told(
    make_checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ModelError, match="do not fit into the memory of cuda"):
        load(make_checkpoint("llama"), device="cuda")


def test_large_weights_of_half_precision_are_no_false_alarm(make_checkpoint: Make) -> None:
    """Their sum is beyond float16, which says nothing of the weights."""
    backbone = load(make_checkpoint("llama"), dtype="float16")
    with torch.no_grad():
        backbone.model.model.embed_tokens.weight.fill_(60.0)
    assert backbone.model.model.embed_tokens.weight.sum().isinf()
    _check_weights(backbone.model, backbone.tokenizer, "a model")


def test_memory_may_be_bounded_when_a_model_is_loaded(make_checkpoint: Make) -> None:
    usual, small = load(make_checkpoint("flan")), load(make_checkpoint("flan"), memory=0.1)
    assert small.limits.prompt_tokens < usual.limits.prompt_tokens
    np.testing.assert_allclose(_sums(small), _sums(usual), atol=1e-4, rtol=0)


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
