"""Mimi encodes in pieces what it encodes as a whole."""

import pytest
import torch
from transformers import CsmForConditionalGeneration, MimiModel

from csm.model.hub import DEMO_FOLDER
from csm.model.mimi.encoder import PIECE_SECONDS, MimiEncoder
from tests import tiny_checkpoints

PIECE = PIECE_SECONDS * 24_000
AROUND_ITS_BORDERS = [PIECE - 1, PIECE, PIECE + 1, PIECE + 961, 3 * PIECE + 5000, 2 * PIECE - 960]


@pytest.fixture(scope="module", params=["small", "demo"])
def codec(request: pytest.FixtureRequest) -> MimiModel:
    if request.param == "small":
        return tiny_checkpoints.make().codec_model
    return CsmForConditionalGeneration.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval().codec_model


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


@torch.inference_mode()
@pytest.mark.parametrize("samples", [13, 1920, 1921, 24_000, 1920 * 9 - 1, *AROUND_ITS_BORDERS])
def test_the_codes_equal_those_of_mimi_with_one_frame_for_each_begun_80_ms(codec: MimiModel, samples: int) -> None:
    made = MimiEncoder.from_model(codec)(noise(samples))
    assert torch.equal(made, codec.encode(noise(samples)[None, None]).audio_codes[0].T)
    assert made.shape == (-(-samples // 1920), codec.config.num_quantizers)


@torch.inference_mode()
def test_convolutions_run_over_one_piece_and_its_past_at_a_time(codec: MimiModel) -> None:
    encoder, lengths = MimiEncoder.from_model(codec), []
    encoder.convolutions.register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[-1]))
    encoder(noise(30 * 24_000))
    assert len(lengths) == 30 // PIECE_SECONDS
    assert max(lengths) < 1.2 * PIECE


def test_weights_are_shared_and_none_is_missing(codec: MimiModel) -> None:
    encoder = MimiEncoder.from_model(codec)
    theirs = {parameter.data_ptr() for parameter in codec.parameters()}
    assert {parameter.data_ptr() for parameter in encoder.parameters()} < theirs
    again = MimiEncoder.from_weights(codec.config, encoder.state_dict())
    assert torch.equal(again(noise(5000)), encoder(noise(5000)))


def test_another_codec_is_refused() -> None:
    config = tiny_checkpoints.make().codec_model.config
    for field, value in {"use_causal_conv": False, "pad_mode": "reflect", "hidden_act": "relu"}.items():
        with pytest.raises(ValueError, match="only"):
            MimiEncoder(type(config)(**config.to_dict() | {field: value}))
