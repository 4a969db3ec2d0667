"""Top-1 agreement: how often the most likely code is the given one, after all given codes before it.

Each runtime is tested through the functions that it uses for serving, so that quantised graphs are tested as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from csm.engine.runtimes.base import Runtime
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.backbone import causal_mask
from csm.model.kv_cache import FunctionalKVCache
from csm.model.sampling import RECENT_FRAMES, Rules

FORCE = 1e6
"""Noise larger than any logit: a code with this noise is always drawn."""

Draw = Callable[[Tensor, Tensor, Rules, int], Tensor]
"""`DepthDecoder.forward`, or a graph of it."""


@torch.inference_mode()
def agreement(runtime: Runtime, ids: list[int], said: list[list[int]]) -> float:
    """Return the share of given codes that are the most likely ones.

    Args:
        runtime: of the model.
        ids: token ids of the prompt.
        said: codes `[frames, codebooks]` that followed it.
    """
    device = runtime.embeddings.text.device
    codes = torch.tensor(said, device=device)
    prompt = runtime.embeddings.embed_text(torch.tensor(ids, device=device))
    inputs = torch.cat([prompt, runtime.embeddings.embed_frames(codes[:-1])])
    hidden, draw, size = _states(runtime, inputs, len(ids) - 1), _draw(runtime), runtime.decoder.codebook_size
    likeliest = torch.stack([_likeliest(draw, *frame, size) for frame in zip(hidden, codes, strict=True)])
    return float((likeliest == codes).float().mean())


def _likeliest(draw: Draw, hidden: Tensor, said: Tensor, size: int) -> Tensor:
    """Return the most likely code of each codebook `[codebooks]`, after the given codes of the codebooks before it.

    In row `k` of a batch, noise forces the given codes in the codebooks before `k`. Codebook `k` has no noise, so its
    most likely code is drawn.

    Args:
        draw: draws a frame from a hidden state.
        hidden: state of the backbone, `[dim]`.
        said: codes `[codebooks]`.
        size: of a codebook.
    """
    count = len(said)
    before = torch.ones(count, count, device=said.device).tril(-1)
    noise = FORCE * before[:, :, None] * F.one_hot(said, size)
    never = torch.zeros(count, dtype=torch.bool, device=said.device)
    rules = Rules(
        temperature=torch.ones(count, device=said.device),
        top_k=torch.full_like(said, size),
        recent=torch.full((count, RECENT_FRAMES), -1, device=said.device),
        may_end=~never,
        avoid_repeats=never,
    )
    # The last row of noise is for redrawing a repeated code, which is disabled here.
    drawn = draw(hidden.expand(count, -1), F.pad(noise, (0, 0, 0, 1)), rules, size)
    return drawn.diagonal()


def _states(runtime: Any, inputs: Tensor, start: int) -> Tensor:
    """Run the backbone over embeddings `[positions, dim]`; return its hidden states from position `start` on."""
    if not isinstance(runtime, TorchRuntime):
        return graph_states(runtime.bundle.backbone, inputs, start)
    positions = torch.arange(len(inputs), device=inputs.device)[None]
    mask = causal_mask(positions, len(inputs))
    hidden: Tensor = runtime.backbone(inputs[None], positions, mask, FunctionalKVCache())[0, start:]
    return hidden


def _draw(runtime: Any) -> Draw:
    if isinstance(runtime, TorchRuntime):
        return runtime.depth

    def draw(hidden: Tensor, noise: Tensor, rules: Rules, max_top_k: int) -> Tensor:
        inputs = (hidden, noise, *rules, torch.tensor(max_top_k))
        arrays = [value.contiguous().numpy() for value in inputs]
        return torch.from_numpy(runtime.bundle.depth(arrays)[0].copy())

    return draw


def graph_states(backbone: Any, inputs: Tensor, start: int) -> Tensor:
    """Run a compiled `BackboneStep` as in a generation: the prompt at once, then frame by frame.

    Args:
        backbone: the graph.
        inputs: embeddings `[positions, dim]`.
        start: the last position of the prompt.

    Returns:
        Hidden states `[positions - start, dim]`.
    """
    ports = [*backbone.inputs][3:]
    past = [np.zeros((1, 0, *(size.get_length() for size in [*port.partial_shape][2:])), np.float32) for port in ports]
    states, at = [], 0
    for end in range(start + 1, len(inputs) + 1):
        positions = torch.arange(at, end)[None]
        mask = causal_mask(positions, end).numpy()
        hidden, *new = backbone([inputs[None, at:end].numpy(), positions.numpy(), mask, *past]).values()
        past = [np.concatenate(parts, axis=1) for parts in zip(past, new, strict=True)]
        states.append(torch.from_numpy(hidden[0].copy()))
        at = end
    return torch.stack(states)
