"""A causal model's own layers as modules that torch.onnx can turn into graphs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from instructrec.backbones.causal import additive
from instructrec.backbones.onnx.layers import Embedding, Projection


def body_of(model: Any, int8: bool) -> Any:
    """A copy of transformers' layers, its products with constants in the form that is exported."""
    body = copy.deepcopy(model.base_model).float().eval()
    body.set_attn_implementation("eager")
    embeddings = body.get_input_embeddings()
    for parent in list(body.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Projection(child.weight, child.bias, by_row=int8))
            elif type(child).__name__ == "Conv1D":
                setattr(parent, name, Projection(child.weight.t(), child.bias, by_row=int8))
            elif child is embeddings and type(child) is nn.Embedding:
                setattr(parent, name, Embedding(child.weight, int8))
    return body


class CausalRead(nn.Module):
    """Prompts to the keys and values that all their candidates share."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """(prompts, width) last states, then keys and values of each layer in turn.

        Args:
            ids: (prompts, tokens) int64, padding on the right.
            mask: (prompts, tokens) int64, 1 where a token stands.
        """
        from transformers import DynamicCache

        places = torch.arange(ids.shape[1])
        allowed = (places[None, :] <= places[:, None])[None].expand(ids.shape[0], -1, -1)
        cache = DynamicCache()
        hidden = self.body(
            input_ids=ids,
            attention_mask=additive(allowed, torch.float32)[:, None],
            position_ids=places[None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        end = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, hidden.shape[-1])
        layers = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        return (hidden.gather(1, end)[:, 0], *layers)


class CausalFollow(nn.Module):
    """Trees of candidates to hidden states, below keys and values of their prompts."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(
        self, tokens: Tensor, mask: Tensor, depths: Tensor, tree: Tensor, layers: list[Tensor]
    ) -> Tensor:
        """(prompts, nodes, width) hidden states.

        Args:
            tokens: (prompts, nodes) the tree's.
            mask: (prompts, prompt tokens) 1 where a token of a prompt stands.
            depths: (prompts, nodes) 0 for a first token.
            tree: (prompts, nodes, nodes) bool, True where a node may look at another.
            layers: What `CausalRead` gives after its last states.
        """
        from transformers import DynamicCache

        cache = DynamicCache()
        for index in range(len(layers) // 2):
            cache.update(layers[2 * index], layers[2 * index + 1], index)
        prompt = (mask > 0)[:, None].expand(-1, tokens.shape[1], -1)
        allowed = additive(torch.cat([prompt, tree], dim=-1), torch.float32)[:, None]
        hidden: Tensor = self.body(
            input_ids=tokens,
            attention_mask=allowed,
            position_ids=mask.sum(1)[:, None] + depths,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden
