"""Codecs of other sizes: fewer codebooks are the first ones, and more filters say and hear the same at first."""

import pytest
import torch
from torch import Tensor

from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.export import forget_cached_codebooks
from recipes.demo_model.quantiser import quantise
from recipes.demo_model.resize import new_codec, widened, with_codebooks

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)


def _noise(frames: int) -> Tensor:
    return torch.randn(1, 1, 1920 * frames, generator=torch.Generator().manual_seed(0)) * 0.1


def test_fewer_codebooks_are_the_first_ones() -> None:
    codec = new_codec(0, SIZE).train()
    quantise(codec, torch.randn(1, SIZE.hidden, 64), dropout=0.0)
    codec.eval()
    with torch.no_grad():
        all_codes, fewer = (one.encode(_noise(4)).audio_codes for one in (codec, with_codebooks(codec, 2).eval()))
    assert all_codes.shape[1] == 3 and torch.equal(fewer, all_codes[:, :2])


def test_a_widened_codec_says_and_sounds_the_same_and_all_of_its_decoder_can_learn() -> None:
    codec = new_codec(0, SIZE).train()
    quantise(codec, torch.randn(1, SIZE.hidden, 64), dropout=0.0)
    codec.eval()
    forget_cached_codebooks(codec)
    wider = widened(codec, filters=5)
    with torch.no_grad():
        narrow_latents, wide_latents = (one.encoder(_noise(12)).latents for one in (codec, wider))
        narrow_codes, wide_codes = (one.encode(_noise(12)).audio_codes for one in (codec, wider))
        narrow_sound, wide_sound = (one.decode(narrow_codes).audio_values for one in (codec, wider))
    torch.testing.assert_close(wide_latents, narrow_latents, rtol=1e-4, atol=1e-5)
    assert len(narrow_codes.unique()) > 3 and torch.equal(wide_codes, narrow_codes)
    torch.testing.assert_close(wide_sound, narrow_sound, rtol=1e-4, atol=1e-6)

    # One step opens the way from the old channels to the new ones, and the second teaches the new ones themselves.
    optimiser = torch.optim.SGD(wider.decoder.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        wider.decoder(torch.randn(1, SIZE.hidden, 5)).audio_values.square().mean().backward()
        optimiser.step()
    for name, value in wider.decoder.decoder_seanet.named_parameters():
        if name.endswith("weight"):
            assert value.grad is not None and value.grad.flatten(1).any(1).all(), name


def test_a_codec_is_not_narrowed() -> None:
    with pytest.raises(ValueError, match="has 2 filters already"):
        widened(new_codec(0, SIZE), filters=1)
