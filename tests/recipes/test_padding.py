"""Padding in plain numbers is that of `transformers`."""

import copy

import pytest
import torch
from transformers.models.mimi.modeling_mimi import MimiConv1d

from recipes.demo_model.architecture import CodecSize, codec_config
from recipes.demo_model.padding import PlainConv1d, pad_plainly
from recipes.demo_model.resize import new_codec

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)


@pytest.mark.parametrize("mode", ["constant", "replicate"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 2), (8, 4, 1), (5, 3, 1), (1, 1, 1)])
def test_a_convolution_pads_alike(mode: str, kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    theirs = MimiConv1d(codec_config(SIZE), 2, 3, kernel, stride, dilation, pad_mode=mode)
    ours = copy.deepcopy(theirs)
    ours.__class__ = PlainConv1d
    for length in range(1, 14):
        sound = torch.randn(1, 2, length)
        assert torch.equal(ours(sound), theirs(sound))


def test_a_codec_makes_the_same_and_keeps_the_names_of_its_weights() -> None:
    codec = new_codec(0, SIZE)
    plain = pad_plainly(copy.deepcopy(codec))
    sound = torch.randn(1, 1, 5000, generator=torch.Generator().manual_seed(0))
    latents = [one.encoder(sound).latents for one in (codec, plain)]
    assert torch.equal(*latents)
    assert torch.equal(*(one.decoder(latents[0]).audio_values for one in (codec, plain)))
    assert plain.state_dict().keys() == codec.state_dict().keys()
    assert not any(type(module) is MimiConv1d for module in plain.modules())


def test_streaming_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="streaming"):
        next(one for one in pad_plainly(new_codec(0, SIZE)).modules() if type(one) is PlainConv1d)(
            torch.zeros(1, 1, 8), padding_cache=object()
        )
