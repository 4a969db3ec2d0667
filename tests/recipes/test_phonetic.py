"""The codes of a phonetic codec: the first has the words, and the others have the voice."""

import numpy as np
import torch
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes, phonetic
from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.resize import new_codec

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64, code_width=8)


def _codec() -> MimiModel:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    stack = codec.quantizer.acoustic_residual_vector_quantizer
    for number, layer in enumerate(stack.layers):
        with torch.no_grad():
            layer.codebook.embed_sum.copy_(torch.randn(64, 8, generator=torch.Generator().manual_seed(number)))
    return codec.eval()


def _latents(count: int = 2, frames: int = 5) -> torch.Tensor:
    return torch.randn(count, 16, frames, generator=torch.Generator().manual_seed(1))


def test_frames_of_unknown_phonemes_get_those_that_the_encoder_recognises() -> None:
    codec, latents = _codec(), _latents()
    heard = phonetic.hear(codec, latents, latents, torch.full((2, 5), phonemes.UNKNOWN), disturb=False)
    recognised = phonetic.recognise(codec, latents).argmax(-1)
    assert torch.equal(recognised, codec.quantizer.encode(latents, 1)[0])
    told = phonetic.hear(codec, latents, latents, recognised, disturb=False)
    assert torch.equal(heard.vectors, told.vectors)
    assert heard.first == 0 and told.first > 0


def test_a_voice_that_stays_costs_nothing_and_one_that_jumps_does() -> None:
    codec, still, true = _codec(), _latents(frames=1).expand(-1, -1, 5), torch.ones(2, 5, dtype=torch.long)
    assert phonetic.hear(codec, _latents(), still, true, disturb=False).slow < 1e-6
    assert phonetic.hear(codec, still, _latents(), true, disturb=False).slow > 1


def test_the_voice_is_that_of_the_other_utterance_in_every_frame() -> None:
    codec, true = _codec(), torch.ones(2, 5, dtype=torch.long)
    own, other = _latents(), _latents().flip(0)
    heard = phonetic.hear(codec, own, other, true, disturb=False).vectors
    torch.testing.assert_close(heard, heard[..., :1].expand_as(heard))  # one phoneme, one voice
    torch.testing.assert_close(heard, phonetic.hear(codec, other, other, true, disturb=False).vectors)
    assert not torch.allclose(heard, phonetic.hear(codec, own, own, true, disturb=False).vectors)


def test_disturbed_clips_differ_from_each_other_and_gradients_reach_the_encoder() -> None:
    codec = _codec()
    latents = _latents(1).expand(64, -1, -1).clone().requires_grad_()
    torch.manual_seed(0)
    heard = phonetic.hear(codec, latents, latents, torch.ones(64, 5, dtype=torch.long), disturb=True)
    assert len(heard.vectors.detach().flatten(1).round(decimals=4).unique(dim=0)) > 10
    (heard.vectors.square().mean() + heard.first + heard.slow).backward()
    assert latents.grad is not None and (latents.grad.flatten(1).norm(dim=1) > 0).all()


@torch.inference_mode()
def test_what_to_say_is_true_phonemes_and_one_voice_and_what_to_hear_is_the_codecs() -> None:
    codec, line = _codec(), np.repeat([1, 2], 7)
    sound = np.random.default_rng(0).standard_normal(1920 * 5).astype(np.float32)
    say, heard = phonetic.encode(codec, sound, line, speed=1.1)
    assert torch.equal(heard, codec.encode(torch.from_numpy(sound)[None, None]).audio_codes[0].T)
    latents = codec.encoder(torch.from_numpy(sound)[None, None]).latents
    first = pairs.first_codes(line, 5, 64, speed=1.1)
    assert torch.equal(say[:, 0], first)
    assert torch.equal(say[:, 1:], say[:1, 1:].expand(5, -1)) and not torch.equal(say[:, 1:], heard[:, 1:])
    vectors = phonetic.hear(codec, latents, latents, first[None], disturb=False).vectors
    torch.testing.assert_close(codec.quantizer.decode(say.T[None]), vectors)
    assert torch.equal(phonetic.encode(codec, sound, np.zeros(0, np.int64))[0][:, 0], heard[:, 0])


def test_a_codec_without_phonemes_is_told_what_it_hears() -> None:
    sound = np.random.default_rng(0).standard_normal(1920 * 5).astype(np.float32)
    say, heard = phonetic.encode(new_codec(0, SIZE), sound, np.repeat([1, 2], 7))
    assert say is heard


def test_a_voice_moves_to_the_nearest_code_that_has_its_pitch() -> None:
    codec = _codec()
    codes = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook.embed_sum
    voices = codes[[3, 3, 3, 8, 8, 8]][:, None] + 0.01
    # The median pitch of code 3 is 100 Hz, that of code 8 is 150 Hz: the last of each has that of the other.
    pitches = torch.tensor([100.0, 100.0, 150.0, 150.0, 150.0, 100.0])
    moved = phonetic.of_pitch(codec, voices, pitches)
    assert phonetic.voice_codes(codec, moved)[:, 0].tolist() == [3, 3, 8, 8, 8, 3]
    torch.testing.assert_close(moved[[0, 1, 3, 4]], voices[[0, 1, 3, 4]])


def test_a_pitch_that_no_code_has_leaves_the_voice_as_it_is() -> None:
    codec = _codec()
    voices = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook.embed_sum[[3, 3, 3]][:, None]
    moved = phonetic.of_pitch(codec, voices, torch.tensor([100.0, 100.0, 300.0]))
    torch.testing.assert_close(moved, voices)
