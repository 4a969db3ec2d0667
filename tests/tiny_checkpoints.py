"""Tiny random CSM checkpoints of the real classes, made in a moment: what engine and speech tests run on."""

from pathlib import Path

import torch
from transformers import CsmForConditionalGeneration

from recipes.demo_model.architecture import CodecSize, ModelSize, StackSize, build
from recipes.demo_model.export import forget_cached_codebooks
from recipes.demo_model.tokenizer import make_processor

LOGIT_SPREAD = 3.0
"""So that rounding cannot change which code is the likeliest."""

SHARPNESS = 2.0
"""Of attention: what is said depends on every position of the prompt, so that a wrong one shows."""


def _codec(codebooks: int) -> CodecSize:
    return CodecSize(
        filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=codebooks, codes=64, code_width=8
    )


BACKBONE = StackSize(layers=2, hidden=32, heads=4, kv_heads=2, head_width=8, feed_forward=48)
DEPTH = StackSize(layers=2, hidden=24, heads=4, kv_heads=2, head_width=6, feed_forward=40)

SIZES: dict[str, ModelSize] = {
    "small": ModelSize(_codec(4), BACKBONE, DEPTH),
    "wide_heads": ModelSize(
        _codec(4),
        StackSize(layers=2, hidden=24, heads=4, kv_heads=1, head_width=16, feed_forward=40),
        StackSize(layers=1, hidden=16, heads=2, kv_heads=2, head_width=12, feed_forward=24),
    ),
    "untied": ModelSize(_codec(8), BACKBONE, DEPTH, tied=False),
    "full_depth": ModelSize(_codec(32), BACKBONE, DEPTH),
}
"""`small` is the default; `wide_heads`: head width x heads != hidden, other head ratios; `full_depth`: 32 codebooks.

All carry csm-1b's llama3 rotary scaling in both stacks, and a code vocabulary 3 larger than the codec's.
"""


def make(size: ModelSize = SIZES["small"], seed: int = 0) -> CsmForConditionalGeneration:
    """Make a float32 model in eval mode; torch's random state is not changed."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build(size)
        _enliven(model)
        _spread_codebooks(model)
        _quieten(model)
    return model


def save(folder: Path, size: ModelSize = SIZES["small"], seed: int = 0) -> Path:
    """Write model, tokenizer and processor as `from_pretrained` reads them; returns the folder."""
    make(size, seed).save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder


def _enliven(model: CsmForConditionalGeneration) -> None:
    """Stock weights are so small at these widths that a model hardly listens to its prompt."""
    for name, weight in model.named_parameters():
        if name.startswith("codec_model") or weight.ndim < 2:
            continue
        gain = 1.0 if "embed_tokens" in name or "embed_text" in name else weight.shape[1] ** -0.5
        gain *= SHARPNESS if "q_proj" in name or "k_proj" in name else 1.0
        weight.normal_(std=gain * (LOGIT_SPREAD if "head" in name else 1.0))


def _spread_codebooks(model: CsmForConditionalGeneration) -> None:
    """Fresh Mimi codebooks are all zero: every sound would get the same code."""
    for name, buffer in model.codec_model.named_buffers():
        if name.endswith("embed_sum"):
            buffer.normal_()
    forget_cached_codebooks(model.codec_model)


def _quieten(model: CsmForConditionalGeneration) -> None:
    """Fresh Mimi weights shout far beyond full scale."""
    audio = model.codec_model.decode(torch.zeros(1, model.config.num_codebooks, 8, dtype=torch.long)).audio_values
    model.codec_model.decoder.decoder_seanet.layers[-1].conv.weight *= 0.2 / audio.std()
