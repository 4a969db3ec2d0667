"""Prompts for our own runtime, read in pieces and then run, and the same for `transformers`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CsmForConditionalGeneration

from csm.audio.waveform import Waveform
from csm.engine.api import Sampling
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.conversation import Conversation, Tokenizer, Turn, text_ids

RATE = 24_000
GREEDY = Sampling(seed=0, temperature=0.0, top_k=1)


def sound(samples: int, seed: int = 0) -> Waveform:
    """Return noise of some length."""
    noise = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    return Waveform(0.1 * noise, RATE)


def heard(text: str, reference: str = "Heard before.", samples: int = RATE, role: str = "0") -> Conversation:
    """Return a conversation of a voice with its transcript, then a text to say."""
    return Conversation((Turn(role, reference, sound(samples)), Turn(role, text)))


def messages(said: Conversation) -> list[dict[str, Any]]:
    """Return the conversation as `CsmProcessor.apply_chat_template` takes it."""
    return [{"role": turn.role, "content": _content(turn)} for turn in said.turns]


def _content(turn: Turn) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": turn.text}]
    return text if turn.audio is None else [*text, {"type": "audio", "path": turn.audio.samples}]


def embedded(runtime: TorchRuntime, tokenizer: Tokenizer, said: Conversation) -> Tensor:
    """Return the prompt `[positions, dim]`, put together from the runtime's public parts."""
    parts: list[Tensor] = []
    for turn in said.turns:
        parts.append(runtime.embeddings.embed_text(torch.tensor(text_ids(turn, tokenizer))))
        if turn.audio is not None:
            codes = runtime.encode(torch.from_numpy(turn.audio.samples))
            parts.append(runtime.embeddings.embed_frames(torch.cat([codes, codes.new_zeros(1, codes.shape[1])])))
    return torch.cat(parts)


def join(runtime: TorchRuntime, row: int, x: Tensor, sampling: Sampling, piece: int = 1000) -> None:
    """Read all but the last position in pieces, then let the prompt become a row."""
    for start in range(0, len(x) - 1, piece):
        runtime.prefill(x[:-1][start : start + piece], start)
    runtime.join(row, len(x) - 1, x[-1], sampling)


def frames(runtime: TorchRuntime, lengths: list[int], count: int, top_k: int = 1) -> Tensor:
    """Codes `[rows, count, codebooks]` of rows that hold so many positions each."""
    made = [runtime.step(len(lengths), max(lengths) + step + 1, top_k) for step in range(count)]
    return torch.stack(made, dim=1)


def greedy(model: CsmForConditionalGeneration, count: int, **prompt: Tensor) -> Tensor:
    """Codes `[frames, codebooks]` of `transformers`, drawn from what the codec knows, as ours are."""
    unknown = list(range(model.config.codec_config.codebook_size, model.config.vocab_size))
    rules = {"do_sample": False, "temperature": None, "top_k": None, "suppress_tokens": unknown}
    depth = {f"depth_decoder_{name}": value for name, value in rules.items()}
    return model.generate(**prompt, max_new_tokens=count, output_audio=False, **rules, **depth)[0]
