"""Export to OpenVINO: graphs traced from the modules that also run in eager PyTorch, then quantised.

There are three: a step of the backbone, all draws of a frame in the depth decoder, and Mimi's decoder. They are pure:
state goes in and comes out as tensors.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import openvino as ov
import torch
from torch import Tensor, nn

from csm.model.backbone import Backbone
from csm.model.depth_decoder import DepthDecoder
from csm.model.kv_cache import FunctionalKVCache
from csm.model.mimi.decoder import MimiDecoder
from csm.model.sampling import RECENT_FRAMES, Rules

log = logging.getLogger(__name__)

INT4_GROUP = 64
"""Weights that share a scale in int4."""


class BackboneStep(nn.Module):
    """The backbone with its KV cache as inputs.

    Args:
        backbone: whose weights are used.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = len(backbone.transformer.blocks)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Run one step.

        Args:
            x: `[batch, time, dim]`.
            positions: `[batch, time]`.
            mask: `[batch, 1, time, past + time]`.
            past: keys and values in turn per layer, `[batch, past, kv_heads, head_dim]`.

        Returns:
            The last position's hidden state `[batch, dim]`, then the new keys and values in turn per layer.
        """
        cache = FunctionalKVCache(list(zip(past[::2], past[1::2], strict=True)))
        hidden = self.backbone(x, positions, mask, cache)
        return hidden[:, -1], *cache.new


class DepthFrame(nn.Module):
    """All draws of a frame as one graph.

    Args:
        depth: whose weights are used.
    """

    def __init__(self, depth: DepthDecoder) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, hidden: Tensor, noise: Tensor, *rules: Tensor) -> Tensor:
        """See `DepthDecoder.forward`.

        Args:
            hidden: as there.
            noise: as there.
            rules: the fields of `Rules`, then the largest top-k as a tensor, so that the graph sorts no more than it
                must.
        """
        *fields, max_top_k = rules
        codes: Tensor = self.depth(hidden, noise, Rules(*fields), max_top_k)
        return codes


class DecoderStep(nn.Module):
    """Mimi's decoder with its state as inputs and outputs.

    Args:
        decoder: whose weights are used.
    """

    def __init__(self, decoder: MimiDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, codes: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See `MimiDecoder.forward`."""
        samples, after = self.decoder(codes, list(state))
        return samples, *after


class DepthScores(nn.Module):
    """Logits of given codes, to compare precisions.

    Args:
        depth: whose weights are used.
    """

    def __init__(self, depth: DepthDecoder) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """See `DepthDecoder.score`."""
        return self.depth.score(hidden, codes)


def backbone_graph(backbone: Backbone) -> ov.Model:
    """Return a graph of `BackboneStep` for any batch, time and past."""
    transformer = backbone.transformer
    past = torch.zeros(2, 5, transformer.kv_heads, transformer.head_dim)
    caches = [past] * (2 * len(transformer.blocks))
    mask = torch.ones(2, 1, 3, 8, dtype=torch.bool)
    example = [torch.zeros(2, 3, transformer.dim), torch.arange(5, 8).repeat(2, 1), mask, *caches]
    return trace(BackboneStep(backbone), example, [[0, 1], [0, 1], [0, 2, 3], *[[0, 1] for _ in caches]])


def depth_graph(depth: DepthDecoder) -> ov.Model:
    """Return a graph of `DepthFrame` for any batch."""
    hidden = torch.zeros(2, depth.project.in_features)
    noise = torch.zeros(2, depth.codebooks + 1, depth.codebook_size)
    rules = Rules(
        temperature=torch.ones(2),
        top_k=torch.full((2,), 2),
        recent=torch.zeros(2, RECENT_FRAMES, dtype=torch.long),
        may_end=torch.ones(2, dtype=torch.bool),
        avoid_repeats=torch.ones(2, dtype=torch.bool),
    )
    inputs = [hidden, noise, *rules, torch.tensor(2)]
    return trace(DepthFrame(depth), inputs, [[0]] * (len(inputs) - 1) + [[]])


def decoder_graph(decoder: MimiDecoder) -> ov.Model:
    """Return a graph of `DecoderStep` for any batch and any number of frames."""
    state = decoder.initial_state(2)
    codes = torch.zeros(2, decoder.codebooks, 3, dtype=torch.long)
    return trace(DecoderStep(decoder), [codes, *state], [[0, 2], *[[0] for _ in state]])


def score_graph(depth: DepthDecoder) -> ov.Model:
    """Return a graph of `DepthScores` for any batch."""
    codes = torch.zeros(2, depth.codebooks, dtype=torch.long)
    return trace(DepthScores(depth), [torch.zeros(2, depth.project.in_features), codes], [[0]] * 2)


def trace(module: nn.Module, example: Sequence[Tensor], dynamic: Sequence[Sequence[int]]) -> ov.Model:
    """Trace a module into a graph.

    Args:
        module: to trace.
        example: inputs.
        dynamic: for each input, the dimensions that may have any size.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of every Python branch; these depend on shapes that are meant to be fixed.
        warnings.simplefilter("ignore")
        model = ov.convert_model(module.eval(), example_input=tuple(example))
    shapes = {}
    for port, tensor, free in zip(model.inputs, example, dynamic, strict=True):
        sizes = [-1 if i in free else size for i, size in enumerate(tensor.shape)]
        shapes[port] = ov.PartialShape(sizes)
    model.reshape(shapes)
    return model


def quantise(model: ov.Model, precision: str) -> ov.Model:
    """Quantise the weights of all matrix products and the depth decoder's embeddings.

    The tables of the rotary embedding stay in float32: they are small, and every position depends on them. In int4, the
    embeddings and matrices whose size does not divide into groups stay in int8.
    """
    if precision == "float32":
        return model
    # Slow to import, and needed only to make a bundle.
    import nncf

    options: dict[str, Any] = {"mode": nncf.CompressWeightsMode.INT8_SYM}
    if precision == "int4":
        fallback = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.IGNORE)
        options = {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": INT4_GROUP, "ratio": 1.0}
        options |= {"advanced_parameters": fallback}
    rotations = nncf.IgnoredScope(patterns=[".*transformer/aten::index/Gather.*"], validate=False)
    return nncf.compress_weights(model, ignored_scope=rotations, **options)
