"""The codes of a phonetic codec: words in the first one only, and the others slow."""

import numpy as np
import pytest
import torch

from recipes.demo_model import pairs, phonemes, phonetic
from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.recordings import NONE, Recording
from recipes.demo_model.resize import new_codec
from recipes.demo_model.sounds import Sounds

CPU = torch.device("cpu")
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64, code_width=8)


def _codec() -> torch.nn.Module:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    stack = codec.quantizer.acoustic_residual_vector_quantizer
    for number, layer in enumerate(stack.layers):
        with torch.no_grad():
            layer.codebook.embed_sum.copy_(torch.randn(64, 8, generator=torch.Generator().manual_seed(number)))
    return codec.eval()


def _latents(count: int = 2, frames: int = 5) -> torch.Tensor:
    return torch.randn(count, 16, frames, generator=torch.Generator().manual_seed(1))


def test_undisturbed_codes_are_what_the_codec_decodes() -> None:
    codec, latents = _codec(), _latents()
    true = torch.randint(1, 64, (2, 5), generator=torch.Generator().manual_seed(2))
    heard = phonetic.hear(codec, latents, true, disturb=False)
    codes = codec.quantizer.encode(latents, 3).transpose(0, 1)
    codes[:, 0] = true
    torch.testing.assert_close(heard.vectors, codec.quantizer.decode(codes))


def test_frames_of_unknown_phonemes_get_those_that_the_encoder_recognises() -> None:
    codec, latents = _codec(), _latents()
    unknown = torch.full((2, 5), phonemes.UNKNOWN)
    heard = phonetic.hear(codec, latents, unknown, disturb=False)
    codes = codec.quantizer.encode(latents, 3).transpose(0, 1)
    torch.testing.assert_close(heard.vectors, codec.quantizer.decode(codes))
    assert heard.first == 0
    assert torch.equal(phonetic.recognise(codec, latents).argmax(-1), codes[:, 0])


def test_latents_that_stay_cost_nothing_and_those_that_jump_do() -> None:
    codec, still, true = _codec(), _latents(frames=1).expand(-1, -1, 5), torch.ones(2, 5, dtype=torch.long)
    assert phonetic.hear(codec, still, true, disturb=False).slow < 1e-6
    assert phonetic.hear(codec, _latents(), true, disturb=False).slow > 1


def test_disturbed_clips_differ_from_each_other_and_gradients_reach_the_encoder() -> None:
    codec = _codec()
    latents = _latents(1).expand(64, -1, -1).clone().requires_grad_()
    torch.manual_seed(0)
    heard = phonetic.hear(codec, latents, torch.ones(64, 5, dtype=torch.long), disturb=True)
    assert len(heard.vectors.detach().flatten(1).round(decimals=4).unique(dim=0)) > 10
    (heard.vectors.square().mean() + heard.first + heard.slow).backward()
    assert latents.grad is not None and (latents.grad.flatten(1).norm(dim=1) > 0).all()


def test_a_trainer_makes_such_codes_slow_and_keeps_the_vectors_of_phonemes() -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    trainer = CodecTrainer(codec, Plan(batch=4, frames=4, steps=60, peak=1e-2, slowness=3.0, variety=NONE), CPU)
    time = np.arange(48_000, dtype=np.float32)
    chirps = [np.sin(time * pitch * (1 + time / 96_000)) * 0.5 for pitch in (0.03, 0.05, 0.09)]
    sounds = Sounds([Recording(sound, np.full(80, number)) for number, sound in enumerate(chirps)], CPU)
    losses = [trainer.step(step, sounds) for step in range(60)]
    for name in ("slow", "first", "spectral"):
        assert np.mean([one[name] for one in losses[-5:]]) < 0.8 * np.mean([one[name] for one in losses[:5]]), name
    assert pairs.installed(trainer.saved())
    assert trainer.validate([Recording(chirps[0][: 4 * 1920], np.full(80, 0))]) > 0


def test_values_are_averaged_in_windows() -> None:
    values = torch.tensor([1.0, 3.0, 5.0, 9.0, 4.0])[None, :, None]
    assert phonetic.averaged(values, 1).flatten().tolist() == [1, 3, 5, 9, 4]
    assert phonetic.averaged(values, 2).flatten().tolist() == [2, 2, 7, 7, 4]
    assert phonetic.averaged(values, 1000).flatten().tolist() == pytest.approx([4.4] * 5)


@pytest.mark.parametrize("window", [1, 3])
def test_what_to_say_is_true_phonemes_and_averages_and_what_to_hear_is_the_codecs(
    monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(phonetic, "SAID_WINDOW", window)
    codec, line = _codec(), np.repeat([1, 2], 7)
    sound = np.random.default_rng(0).standard_normal(1920 * 5).astype(np.float32)
    say, heard = phonetic.encode(codec, sound, line, speed=1.1)
    with torch.inference_mode():
        assert torch.equal(heard, codec.encode(torch.from_numpy(sound)[None, None]).audio_codes[0].T)
    assert torch.equal(
        say[:, 0], pairs.codes_of(torch.from_numpy(phonemes.labels(line, pairs.AHEAD * 1.1, 1.1, 5)), 64)
    )
    assert torch.equal(say[:, 1:], heard[:, 1:]) == (window == 1)
    assert torch.equal(say[0, 1:], say[window - 1, 1:])
    assert torch.equal(phonetic.encode(codec, sound, np.zeros(0, np.int64))[0][:, 0], heard[:, 0])


def test_a_codec_without_phonemes_is_told_what_it_hears() -> None:
    sound = np.random.default_rng(0).standard_normal(1920 * 5).astype(np.float32)
    say, heard = phonetic.encode(new_codec(0, SIZE), sound, np.repeat([1, 2], 7))
    assert say is heard
