"""Any encoder in the sentence-transformers layout reads texts as plain transformers do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from encoder_worlds import WIDTH, by_transformers, write_encoder
from safetensors.numpy import load_file, save_file

from instructrec import pretrained
from instructrec.errors import ModelError, UsageError
from instructrec.retrieval.encoder import SentenceEncoder, find_encoder

TEXTS = [
    "turbo kart",
    "a quiet farm for my son who likes games , racing and roses . with a pot of clay to hose",
    "",
    "garden hose",
    "something unknown",
]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "mpnet", "distilbert", "xlm-roberta", "electra", "camembert"]
)
def test_every_architecture_gives_what_plain_transformers_give(tmp_path, kind):
    folder = write_encoder(tmp_path / kind, kind)
    vectors = SentenceEncoder(folder).encode(TEXTS)
    expected = unit(by_transformers(folder, TEXTS, ["mean"]))
    assert vectors.shape == (len(TEXTS), WIDTH) and vectors.dtype == np.float32
    assert vectors == pytest.approx(expected, abs=1e-5)
    # Random weights tell the texts apart, so that the comparison means something.
    assert np.abs(expected[0] - expected[3]).max() > 0.05


@pytest.mark.parametrize(
    "mode", ["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean"]
)
def test_every_way_of_pooling_gives_what_it_should(tmp_path, mode):
    folder = write_encoder(tmp_path / "e", pooling=mode)
    expected = unit(by_transformers(folder, TEXTS, [mode]))
    assert SentenceEncoder(folder).encode(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_joined_poolings_and_a_dense_layer_follow_each_other(tmp_path):
    folder = write_encoder(tmp_path / "e", pooling=["mean", "cls"], dense=True)
    pooled = by_transformers(folder, TEXTS, ["mean", "cls"])
    weights = load_file(folder / "2_Dense" / "model.safetensors")
    expected = np.tanh(pooled @ weights["linear.weight"].T + weights["linear.bias"])
    encoder = SentenceEncoder(folder)
    assert encoder.dimensions == 6
    assert encoder.encode(TEXTS) == pytest.approx(unit(expected), abs=1e-5)


def test_the_older_spelling_of_pooling_is_read_and_a_plain_checkpoint_is_averaged(tmp_path):
    folder = write_encoder(tmp_path / "e", pooling="cls")
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    expected = unit(by_transformers(folder, TEXTS, ["cls"]))
    assert SentenceEncoder(folder).encode(TEXTS) == pytest.approx(expected, abs=1e-5)
    (folder / "modules.json").unlink()
    expected = unit(by_transformers(folder, TEXTS, ["mean"]))
    assert SentenceEncoder(folder).encode(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_prefixes_are_put_before_what_asks_and_what_is_found(tmp_path):
    prompts = {"query": "query : ", "passage": "passage : "}
    told = SentenceEncoder(write_encoder(tmp_path / "told", prompts=prompts))
    plain = SentenceEncoder(write_encoder(tmp_path / "plain"))
    texts = ["turbo kart", "clay pot"]
    asked = plain.encode([f"query : {text}" for text in texts])
    found = plain.encode([f"passage : {text}" for text in texts])
    assert told.encode(texts, asked=True) == pytest.approx(asked, abs=1e-6)
    assert told.encode(texts) == pytest.approx(found, abs=1e-6)
    assert plain.encode(texts, asked=True) == pytest.approx(plain.encode(texts), abs=1e-6)


def test_what_decides_the_vectors_decides_the_identity(tmp_path):
    one = SentenceEncoder(write_encoder(tmp_path / "one"), "an encoder")
    same = SentenceEncoder(write_encoder(tmp_path / "same"), "under another name")
    others = [
        write_encoder(tmp_path / "seed", seed=1),
        write_encoder(tmp_path / "cls", pooling="cls"),
        write_encoder(tmp_path / "prompt", prompts={"query": "query : "}),
    ]
    assert one.identity == same.identity
    assert len({one.identity, *(SentenceEncoder(folder).identity for folder in others)}) == 4


def test_the_order_and_company_of_texts_do_not_matter(tmp_path):
    encoder = SentenceEncoder(write_encoder(tmp_path / "e", "mpnet"))
    together = encoder.encode([*TEXTS, *TEXTS[::-1]])
    alone = np.concatenate([encoder.encode([text]) for text in [*TEXTS, *TEXTS[::-1]]])
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_folder_is_chosen_by_its_path_and_the_default_is_minilm(tmp_path, monkeypatch):
    folder = write_encoder(tmp_path / "e")
    found = find_encoder(folder)
    assert found is not None and found.name == str(folder) and not found.latin_only
    assert find_encoder(str(folder)) is found
    monkeypatch.setattr(pretrained, "locate", lambda name: None)
    assert find_encoder() is None


def test_what_is_no_text_encoder_is_refused_in_one_line():
    with pytest.raises(UsageError, match="language model"):
        find_encoder("flan-t5-small")
    with pytest.raises(UsageError, match="there is no text encoder"):
        find_encoder("no/such/folder")
    with pytest.raises(ModelError, match="cannot be fetched"):
        find_encoder("nobody/has-this-encoder")


def _drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def _lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _spoil_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize("spoil", [_drop_weights, _cut_weights, _lose_a_weight, _spoil_tokenizer])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, spoil):
    folder = write_encoder(tmp_path / "e")
    spoil(folder)
    with pytest.raises(ModelError, match="cannot be loaded"):
        SentenceEncoder(folder).encode(["turbo kart"])


def test_parts_that_are_not_known_are_named(tmp_path):
    folder = write_encoder(tmp_path / "e", pooling="cleverly")
    with pytest.raises(ModelError, match="pools by 'cleverly'"):
        SentenceEncoder(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.WordWeights"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="WordWeights"):
        SentenceEncoder(folder)
    (folder / "config.json").unlink()
    (folder / "modules.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        SentenceEncoder(folder)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "distilbert"])
def test_sentence_transformers_itself_gives_the_same(tmp_path, kind):
    reason = "needs sentence-transformers: pip install 'instructrec[rivals]'"
    package = pytest.importorskip("sentence_transformers", reason=reason)
    prompts = {"query": "query : ", "document": "passage : "}
    folder = write_encoder(tmp_path / kind, kind, dense=True, prompts=prompts)
    model = package.SentenceTransformer(str(folder), device="cpu")
    encoder = SentenceEncoder(folder)
    assert encoder.encode(TEXTS) == pytest.approx(model.encode_document(TEXTS), abs=1e-5)
    assert encoder.encode(TEXTS, asked=True) == pytest.approx(model.encode_query(TEXTS), abs=1e-5)
