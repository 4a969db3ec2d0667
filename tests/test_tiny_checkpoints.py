"""The tiny checkpoints and the demo model have the properties that other tests rely on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, CsmForConditionalGeneration

from tests import tiny_checkpoints

DEMO = Path(__file__).parents[1] / "csm" / "assets" / "demo"


def _generate(folder: Path, frames: int) -> tuple[CsmForConditionalGeneration, torch.Tensor, torch.Tensor]:
    model = CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    sound = 0.1 * np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    conversation = [
        {"role": "0", "content": [{"type": "text", "text": "Heard before."}, {"type": "audio", "path": sound}]},
        {"role": "0", "content": [{"type": "text", "text": "To be said."}]},
    ]
    prompt = processor.apply_chat_template(conversation, tokenize=True, return_dict=True)
    torch.manual_seed(0)
    output = model.generate(**prompt, max_new_tokens=frames, output_audio=True, return_dict_in_generate=True)
    return model, output.sequences, output.audio[0]


@pytest.mark.parametrize("name", tiny_checkpoints.SIZES)
def test_tiny_checkpoints_generate_through_the_real_classes(name: str, tmp_path: Path) -> None:
    folder = tiny_checkpoints.save(tmp_path, tiny_checkpoints.SIZES[name])
    model, codes, audio = _generate(folder, frames=3)
    assert codes.shape == (1, 3, model.config.num_codebooks)
    assert codes.max() < model.config.codec_config.codebook_size
    assert torch.isfinite(audio).all() and len(audio) == 3 * 1920
    assert 0.01 < audio.std() < 1


def test_different_sounds_get_different_codes() -> None:
    model = tiny_checkpoints.make()
    sounds = torch.randn(2, 1, 1920 * 4, generator=torch.Generator().manual_seed(0))
    first, second = (model.codec_model.encode(sound[None]).audio_codes for sound in sounds)
    assert (first != second).any()


@pytest.mark.parametrize("name", tiny_checkpoints.SIZES)
def test_codes_depend_on_the_first_position_of_the_prompt(name: str) -> None:
    model = tiny_checkpoints.make(tiny_checkpoints.SIZES[name])
    prompts = torch.randint(0, 256, (2, 30), generator=torch.Generator().manual_seed(0))
    prompts[1, 1:] = prompts[0, 1:]
    greedy = {"do_sample": False, "depth_decoder_do_sample": False, "max_new_tokens": 4}
    first, second = (model.generate(input_ids=prompt[None], **greedy) for prompt in prompts)
    assert (first != second).float().mean() > 0.2


def test_a_seed_gives_the_same_weights_and_leaves_torchs_generator_unchanged() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = tiny_checkpoints.make(seed=1), tiny_checkpoints.make(seed=1), tiny_checkpoints.make(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_demo_model_generates_finite_audio_from_codes_of_its_codebook() -> None:
    model, codes, audio = _generate(DEMO, frames=25)
    assert codes.shape == (1, 25, model.config.num_codebooks)
    assert codes.max() < model.config.codec_config.codebook_size == model.config.vocab_size - 3
    assert torch.isfinite(audio).all() and audio.abs().max() > 0.01


def test_the_demo_model_has_small_float16_shards_and_says_whether_it_is_trained() -> None:
    shards = list(DEMO.glob("*.safetensors"))
    assert shards and all(shard.stat().st_size < 16e6 for shard in shards)
    assert sum(file.stat().st_size for file in DEMO.iterdir()) < 45e6
    assert json.loads((DEMO / "config.json").read_text())["dtype"] == "float16"
    assert isinstance(json.loads((DEMO / "demo.json").read_text())["trained"], bool)
