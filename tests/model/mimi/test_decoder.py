"""Mimi decodes as a stream what it decodes as a whole."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CsmForConditionalGeneration, MimiModel

from csm.model.mimi.decoder import MimiDecoder, StreamingConvTranspose1d
from csm.model.mimi.transformer import State
from tests import tiny_checkpoints

TOLERANCE = 1e-5
WINDOW_FRAMES = 125
"""Mimi's sliding window of 250 positions."""

LONG = 300


@pytest.fixture(scope="module")
def codec() -> MimiModel:
    return tiny_checkpoints.make().codec_model


@pytest.fixture(scope="module")
def decoder(codec: MimiModel) -> MimiDecoder:
    return MimiDecoder(codec)


def codes(frames: int, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randint(0, 64, (batch, 4, frames), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def whole(codec: MimiModel, spoken: Tensor) -> Tensor:
    return codec.decode(spoken).audio_values[:, 0]


@torch.inference_mode()
def in_parts(decoder: MimiDecoder, spoken: Tensor, parts: list[int]) -> Tensor:
    state, sound = decoder.initial_state(len(spoken)), []
    for part in spoken.split(parts, dim=-1):
        samples, state = decoder(part, state)
        sound.append(samples)
    return torch.cat(sound, dim=-1)


@pytest.fixture(scope="module")
def one_shot(codec: MimiModel) -> Tensor:
    return whole(codec, codes(LONG))


@st.composite
def cuts(draw: st.DrawFn) -> list[int]:
    frames = draw(st.integers(1, 40))
    borders = sorted(draw(st.sets(st.integers(1, frames - 1), max_size=frames - 1))) if frames > 1 else []
    return [end - start for start, end in zip([0, *borders], [*borders, frames], strict=True)]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(parts=cuts())
def test_decoding_in_any_chunks_gives_the_samples_of_one_long_decode(
    parts: list[int], decoder: MimiDecoder, one_shot: Tensor
) -> None:
    # The codec is causal: the beginning of a long decode is the decode of the beginning.
    sound = in_parts(decoder, codes(LONG)[..., : sum(parts)], parts)
    assert sound.shape[-1] == 1920 * sum(parts)
    assert (sound - one_shot[:, : sound.shape[-1]]).abs().max() < TOLERANCE


@pytest.mark.parametrize("parts", [[LONG], [1, 2, 4] + [8] * 36 + [5], [WINDOW_FRAMES, 1, LONG - WINDOW_FRAMES - 1]])
def test_streams_longer_than_the_sliding_window(parts: list[int], decoder: MimiDecoder, one_shot: Tensor) -> None:
    assert LONG > 2 * WINDOW_FRAMES
    assert (in_parts(decoder, codes(LONG), parts) - one_shot).abs().max() < TOLERANCE


def test_decoding_in_chunks_without_state_gives_other_samples(decoder: MimiDecoder, codec: MimiModel) -> None:
    spoken = codes(10)
    cut = torch.cat([whole(codec, spoken[..., :5]), whole(codec, spoken[..., 5:])], dim=-1)
    assert (cut - whole(codec, spoken)).abs().max() > 100 * TOLERANCE


def test_streams_of_different_ages_decode_in_one_batch(decoder: MimiDecoder, codec: MimiModel) -> None:
    ages, then = [0, 3, 7, 140], 6
    spoken = [codes(age + then, seed=age) for age in ages]
    with torch.inference_mode():
        states = []
        for age, stream in zip(ages, spoken, strict=True):
            state = decoder.initial_state(1)
            if age:
                _, state = decoder(stream[..., :age], state)
            states.append(state)
        batched = [torch.cat(parts) for parts in zip(*states, strict=True)]
        sound, _ = decoder(torch.cat([stream[..., -then:] for stream in spoken]), batched)
    for row, stream in zip(sound, spoken, strict=True):
        assert (row - whole(codec, stream)[0, -1920 * then :]).abs().max() < TOLERANCE


def test_the_codec_of_the_demo_model_streams_exactly() -> None:
    from csm.model.hub import DEMO_FOLDER

    model = CsmForConditionalGeneration.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval()
    shape = (1, model.config.num_codebooks, 20)
    # The higher codes of a voice are in no speech, and decode to samples of some hundreds.
    spoken = torch.randint(1, 250, shape, generator=torch.Generator().manual_seed(3))
    sound = in_parts(MimiDecoder(model.codec_model), spoken, [1, 2, 4, 8, 5])
    assert (sound - whole(model.codec_model, spoken)).abs().max() < TOLERANCE


def test_a_codec_that_is_not_causal_is_refused(
    reference: Callable[..., CsmForConditionalGeneration], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = reference().codec_model
    monkeypatch.setattr(codec.config, "use_causal_conv", False)
    with pytest.raises(ValueError, match="only a causal Mimi"):
        MimiDecoder(codec)


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(5, 2, 1), (2, 2, 1), (4, 2, 2)])
def test_transposed_convolutions_of_other_shapes_are_refused(kernel: int, stride: int, groups: int) -> None:
    with pytest.raises(ValueError, match="kernels of two strides"):
        StreamingConvTranspose1d(nn.ConvTranspose1d(4, 4, kernel, stride, groups=groups))


@torch.inference_mode()
@pytest.mark.parametrize("groups", [1, 6])
def test_a_transposed_convolution_as_a_product(groups: int) -> None:
    conv = nn.ConvTranspose1d(6, 6, 8, 4, groups=groups)
    x = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1))
    ours, state = StreamingConvTranspose1d(conv), State()
    made = ours(x, iter(ours.initial_state(2)), state)
    theirs = conv(x)
    torch.testing.assert_close(made, theirs[..., :36])
    torch.testing.assert_close(state[0] + conv.bias[:, None], theirs[..., 36:])
