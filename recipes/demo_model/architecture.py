"""Sizes of a CSM, and the configurations of `transformers` for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import CsmConfig, CsmForConditionalGeneration, GenerationConfig, MimiConfig
from transformers.models.csm.configuration_csm import CsmDepthDecoderConfig

from recipes.demo_model.tokenizer import SPECIAL_TOKENS, TEXT_VOCABULARY

SPECIAL_CODES = 3
"""Number of codes that CSM has in addition to its codec's: 2051 = 2048 + 3."""

SAMPLES_PER_FRAME = 1920
SAMPLE_RATE = 24_000
FRAME_RATE = SAMPLE_RATE / SAMPLES_PER_FRAME
LATENTS_PER_FRAME = 2
"""Mimi's convolutions have 25 latents per second, twice as many as there are frames."""

# The rotary scaling of the published csm-1b, backbone and depth decoder.
BACKBONE_ROPE: Mapping[str, Any] = MappingProxyType(
    {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "high_freq_factor": 0.5,
        "low_freq_factor": 0.125,
        "original_max_position_embeddings": 1024,
    }
)
DEPTH_ROPE: Mapping[str, Any] = MappingProxyType(
    {**BACKBONE_ROPE, "high_freq_factor": 2**-7, "low_freq_factor": 2**-9, "original_max_position_embeddings": 16}
)


@dataclass(frozen=True)
class CodecSize:
    """The sizes of a Mimi that may vary. Kernels and strides may not: `CsmProcessor` hard-codes them."""

    filters: int = 16
    hidden: int = 192
    feed_forward: int = 512
    layers: int = 2
    heads: int = 4
    codebooks: int = 16
    codes: int = 512
    code_width: int = 96


@dataclass(frozen=True)
class StackSize:
    """The sizes of one transformer stack."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a whole CSM."""

    codec: CodecSize = CodecSize()
    backbone: StackSize = StackSize(layers=6, hidden=320, heads=6, kv_heads=2, head_width=64, feed_forward=1024)
    depth: StackSize = StackSize(layers=3, hidden=192, heads=4, kv_heads=2, head_width=64, feed_forward=512)
    positions: int = 2048
    tied: bool = True


DEMO = ModelSize()

SMALL = ModelSize(
    backbone=StackSize(layers=4, hidden=256, heads=4, kv_heads=2, head_width=64, feed_forward=768),
    depth=StackSize(layers=2, hidden=160, heads=4, kv_heads=2, head_width=64, feed_forward=448),
)
"""For a CPU: a training step takes less than half as long as with `DEMO`."""

TINY = ModelSize(
    backbone=StackSize(layers=4, hidden=192, heads=4, kv_heads=2, head_width=48, feed_forward=512),
    depth=StackSize(layers=2, hidden=128, heads=4, kv_heads=2, head_width=32, feed_forward=320),
)
"""Half as long as `SMALL`: if there is only an hour, more steps are worth more than more width."""

SIZES = MappingProxyType({"demo": DEMO, "small": SMALL, "tiny": TINY})


def codec_config(size: CodecSize) -> MimiConfig:
    """Return the configuration of a Mimi at 24 kHz and 12.5 frames per second."""
    return MimiConfig(
        num_filters=size.filters,
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.hidden // size.heads,
        codebook_size=size.codes,
        codebook_dim=size.code_width,
        vector_quantization_hidden_dimension=size.code_width,
        num_quantizers=size.codebooks,
        upsample_groups=size.hidden,
        sliding_window=250,
    )


def csm_config(size: ModelSize, codec: MimiConfig | None = None) -> CsmConfig:
    """Return the configuration of a CSM with `codec` (from `size` if None) and the demo tokenizer's special ids."""
    codec = codec or codec_config(size.codec)
    vocabulary = codec.codebook_size + SPECIAL_CODES
    return CsmConfig(
        num_codebooks=codec.num_quantizers,
        vocab_size=vocabulary,
        text_vocab_size=TEXT_VOCABULARY,
        max_position_embeddings=size.positions,
        rope_parameters=dict(BACKBONE_ROPE),
        pad_token_id=SPECIAL_TOKENS["<|pad|>"],
        bos_token_id=SPECIAL_TOKENS["<|begin_of_text|>"],
        audio_token_id=SPECIAL_TOKENS["<|AUDIO|>"],
        audio_eos_token_id=SPECIAL_TOKENS["<|audio_eos|>"],
        codebook_pad_token_id=vocabulary - 1,
        codebook_eos_token_id=0,
        tie_codebooks_embeddings=size.tied,
        depth_decoder_config=_depth_config(size, codec.num_quantizers, vocabulary),
        codec_config=codec.to_dict(),
        **_stack(size.backbone),
    )


def build(size: ModelSize, codec: MimiConfig | None = None) -> CsmForConditionalGeneration:
    """Return a CSM with random weights, from torch's global generator, and the sampling defaults of csm-1b."""
    model = CsmForConditionalGeneration(csm_config(size, codec)).eval()
    set_generation_defaults(model)
    return model


def _depth_config(size: ModelSize, codebooks: int, vocabulary: int) -> CsmDepthDecoderConfig:
    return CsmDepthDecoderConfig(
        num_codebooks=codebooks,
        backbone_hidden_size=size.backbone.hidden,
        vocab_size=vocabulary,
        max_position_embeddings=codebooks + 1,
        # csm-1b was trained with 16 of 33 positions; with fewer codebooks, there are fewer of both.
        rope_parameters={**DEPTH_ROPE, "original_max_position_embeddings": min(16, codebooks)},
        **_stack(size.depth),
    )


def _stack(size: StackSize) -> dict[str, int]:
    return {
        "hidden_size": size.hidden,
        "intermediate_size": size.feed_forward,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_width,
    }


def set_generation_defaults(model: CsmForConditionalGeneration) -> None:
    """Set the sampling defaults of csm-1b, and suppress the codes that the codec does not have: Mimi fails on them."""
    codec_codes = model.config.codec_config.codebook_size
    sampling = {
        "do_sample": True,
        "temperature": 0.9,
        "top_k": 50,
        "suppress_tokens": list(range(codec_codes, model.config.vocab_size)),
    }
    steps = model.config.num_codebooks - 1
    ids = {"bos_token_id": model.config.bos_token_id, "pad_token_id": model.config.pad_token_id}
    # New objects: defaults derived from a model's config lose the part of the depth decoder when they are reloaded.
    model.generation_config = GenerationConfig(max_new_tokens=125, **ids, **sampling)
    model.depth_decoder.generation_config = GenerationConfig(min_new_tokens=steps, max_new_tokens=steps, **sampling)
