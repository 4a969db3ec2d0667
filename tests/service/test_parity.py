"""The audio of an answer equals what `transformers` generates for the same reference audio and text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoProcessor, CsmForConditionalGeneration

from csm.audio.condition import condition
from csm.audio.decode import decode
from csm.model.hub import DEMO_FOLDER
from csm.speech.takes import FADE_SECONDS
from tests.real_server import RealServer, clone_request, real_server
from tests.reference_audio import TRANSCRIPT, VOICE
from tests.torch_threads import one_thread  # noqa: F401

TEXT = "Please call my brother and tell him that the train is late."
FRAMES = 20
SILENT = 0.02 * 32767


def pcm(wav: bytes) -> NDArray[np.int16]:
    return np.frombuffer(wav[44:], "<i2")


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    """Samples by the processor's prompt and `generate`, with nothing of ours but decoding and conditioning."""
    model: Any = CsmForConditionalGeneration.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(DEMO_FOLDER)
    voice = condition(decode(VOICE.read_bytes(), max_seconds=30), max_seconds=30).samples
    conversation = [
        {"role": "0", "content": [{"type": "text", "text": TRANSCRIPT}, {"type": "audio", "path": voice}]},
        {"role": "0", "content": [{"type": "text", "text": TEXT}]},
    ]
    prompt = processor.apply_chat_template(conversation, tokenize=True, return_dict=True)
    unknown = list(range(model.config.codec_config.codebook_size, model.config.vocab_size))
    rules = {"do_sample": False, "temperature": None, "top_k": None, "suppress_tokens": unknown}
    output = model.generate(
        **prompt,
        max_new_tokens=FRAMES,
        output_audio=True,
        return_dict_in_generate=True,
        **rules,
        **{f"depth_decoder_{name}": value for name, value in rules.items()},
    )
    return output.audio[0].numpy()


def generated(server: RealServer) -> NDArray[np.int16]:
    form = {"text": TEXT, "transcript": TRANSCRIPT, "temperature": "0", "max_seconds": str(FRAMES * 0.08)}
    answer = server.ask(clone_request(**form))
    assert (answer.status, answer.is_complete) == (200, True)
    return pcm(answer.body)


def same(heard: NDArray[np.int16], expected: NDArray[np.float32]) -> bool:
    """Return whether all samples are the same but those that the server fades, or leaves out as initial silence."""
    wanted, faded = np.rint(expected.clip(-1, 1) * 32767), round(FADE_SECONDS * 24_000)
    if not len(wanted) / 2 < len(heard) <= len(wanted):
        return False
    if np.abs(wanted[: -len(heard)]).max(initial=0) > SILENT:
        return False
    return bool(np.abs(heard - wanted[-len(heard) :])[faded:-faded].max() <= 1)


def test_the_csm_engine_over_http_equals_transformers(server: RealServer, expected: NDArray[np.float32]) -> None:
    assert server.health()["engine"] == "csm"
    assert same(generated(server), expected)
    # Again, from the cached voice.
    assert same(generated(server), expected)


@pytest.mark.slow
def test_the_transformers_engine_over_http_equals_transformers(tmp_path: Path, expected: NDArray[np.float32]) -> None:
    with real_server(tmp_path, engine="transformers") as server:
        assert server.health()["engine"] == "transformers"
        assert same(generated(server), expected)
