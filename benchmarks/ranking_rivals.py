"""Rivals of `ranking.py`: other ways to score a prompt's candidates with a model of like size.

Each is made once and then called with prompt ids and candidate ids; all but the cross-encoder give
the sums that ours gives.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from instructrec.backbones import Backbone

Ids = list[int]
Score = Callable[[Ids, list[Ids]], NDArray[np.float64]]


def one_by_one(backbone: Backbone) -> Score:
    """Plain transformers: one candidate, one forward pass of the whole prompt."""
    return lambda prompt, candidates: np.concatenate(
        [_forward(backbone, prompt, [ids]) for ids in candidates]
    )


def repeated(backbone: Backbone, batch: int = 20) -> Score:
    """Plain transformers: candidates in padded batches, the prompt repeated for each."""

    def score(prompt: Ids, candidates: list[Ids]) -> NDArray[np.float64]:
        starts = range(0, len(candidates), batch)
        return np.concatenate(
            [_forward(backbone, prompt, candidates[n : n + batch]) for n in starts]
        )

    return score


def expanded(backbone: Backbone) -> Score:
    """Plain transformers, sequence-to-sequence: the prompt encoded once, its states expanded to a
    padded batch of all candidates (so that keys and values are made for each of them)."""
    from transformers.modeling_outputs import BaseModelOutput

    def score(prompt: Ids, candidates: list[Ids]) -> NDArray[np.float64]:
        model = backbone.model
        labels = _padded(candidates, model.device)
        with torch.inference_mode():
            states = model.encoder(
                input_ids=torch.tensor([prompt], device=model.device)
            ).last_hidden_state
            outputs = BaseModelOutput(last_hidden_state=states.expand(len(candidates), -1, -1))
            logits = model(encoder_outputs=outputs, labels=labels).logits
            return _sums(logits, labels)

    return score


def ctranslate2(backbone: Backbone, compute_type: str = "float32") -> Score:
    """CTranslate2's ``score_batch``, with the scale of its T5 logits put right.

    Its converter scales the logits of every model whose configuration ties the embeddings, and
    transformers 5 says so of all T5; what decides is ``scale_decoder_outputs``.
    """
    from ctranslate2 import Translator
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_model(self, model_class: Any, name: str, **kwargs: Any) -> Any:
            model = super().load_model(model_class, name, **kwargs)
            model.config.tie_word_embeddings = model.config.scale_decoder_outputs
            return model

    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "model", Path(name) / "converted"
        backbone.save(source)
        Converter(str(source)).convert(str(target), quantization=compute_type)
        translator = Translator(
            str(target), compute_type=compute_type, intra_threads=torch.get_num_threads()
        )
    vocabulary = backbone.tokenizer.convert_ids_to_tokens(range(len(backbone.tokenizer)))

    def score(prompt: Ids, candidates: list[Ids]) -> NDArray[np.float64]:
        source = [vocabulary[token] for token in prompt]
        targets = [[vocabulary[token] for token in ids[:-1]] for ids in candidates]
        found = translator.score_batch([source] * len(targets), targets, max_batch_size=32)
        return np.array([sum(one.log_probs) for one in found])

    return score


def cross_encoder(backbone: Backbone) -> Score:
    """sentence-transformers' CrossEncoder: prompt and title read together by a BERT of like size,
    random weights; it scores by one number and not by likelihood."""
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(backbone.tokenizer) + 128,
        hidden_size=512,
        num_hidden_layers=12,
        num_attention_heads=8,
        intermediate_size=2048,
        num_labels=1,
        pad_token_id=backbone.tokenizer.pad_token_id,
    )
    with tempfile.TemporaryDirectory() as name:
        BertForSequenceClassification(config).save_pretrained(name)
        backbone.tokenizer.save_pretrained(name)
        encoder = CrossEncoder(name, max_length=512, device=str(backbone.model.device))
    decode = backbone.tokenizer.decode

    def score(prompt: Ids, candidates: list[Ids]) -> NDArray[np.float64]:
        text = decode(prompt, skip_special_tokens=True)
        pairs = [(text, decode(ids, skip_special_tokens=True)) for ids in candidates]
        return np.asarray(encoder.predict(pairs, batch_size=32, show_progress_bar=False), float)

    return score


def _forward(backbone: Backbone, prompt: Ids, candidates: list[Ids]) -> NDArray[np.float64]:
    labels = _padded(candidates, backbone.model.device)
    prompts = torch.tensor([prompt] * len(candidates), device=labels.device)
    with torch.inference_mode():
        if backbone.family == "seq2seq":
            return _sums(backbone.model(input_ids=prompts, labels=labels).logits, labels)
        ids = torch.cat([prompts, labels.clamp(min=0)], dim=1)
        return _sums(backbone.model(input_ids=ids).logits[:, len(prompt) - 1 : -1], labels)


def _padded(candidates: list[Ids], device: Any) -> torch.Tensor:
    width = max(map(len, candidates))
    return torch.tensor([ids + [-100] * (width - len(ids)) for ids in candidates], device=device)


def _sums(logits: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float64]:
    steps = logits.float().log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    return (steps * (labels >= 0)).sum(1).double().cpu().numpy()
