"""A model on disk becomes a warm synthesizer, whichever engine runs it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import csm.speech.build
from csm.engine.devices import Placement
from csm.engine.runtimes.cuda import CudaRuntime, Graph
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint
from csm.settings import Settings
from csm.speech.build import build
from tests.speech.utterances import speak, speech_settings, utterance


@pytest.mark.parametrize("engine", ["csm", "transformers"])
def test_a_checkpoint_generates_with_either_engine(engine: str, tiny: Callable[..., Path]) -> None:
    synthesizer = build(speech_settings(model=str(tiny()), engine=engine, device="cpu", precision="float32"))
    try:
        assert synthesizer.status().state == "healthy"
        assert synthesizer.status().details["engine"] == engine
        chunks = list(speak(synthesizer, utterance(seed=1, max_seconds=0.4)))
        assert sum(map(len, chunks)) == 2 * 1920 * 5
        assert list(speak(synthesizer, utterance(seed=1, max_seconds=0.4))) == chunks
        assert list(speak(synthesizer, utterance(seed=2, max_seconds=0.4))) != chunks
    finally:
        synthesizer.close()


def test_the_status_names_the_demo_model() -> None:
    synthesizer = build(speech_settings())
    try:
        details = synthesizer.status().details
        assert details["demo"] is True and "demo" in str(details["notice"])
    finally:
        synthesizer.close()


def test_health_says_why_the_gpu_is_not_used(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.cuda, "init", init)
    synthesizer = build(speech_settings(model=str(tiny()), precision="float32"))
    try:
        status = synthesizer.status()
        assert (status.state, status.device) == ("healthy", "cpu")
        assert "too old" in str(status.details["notice"])
    finally:
        synthesizer.close()


def test_health_says_why_frames_run_without_graphs(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(frame: Callable[[], torch.Tensor]) -> Graph:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    def make_runtime(_: Settings, checkpoint: Checkpoint, placement: Placement) -> CudaRuntime:
        return CudaRuntime(checkpoint, placement, 2, refuse)

    monkeypatch.setattr(csm.speech.build, "make_runtime", make_runtime)
    synthesizer = build(speech_settings(model=str(tiny()), device="cpu", precision="float32"))
    try:
        status = synthesizer.status()
        assert status.state == "healthy"
        assert "not permitted" in str(status.details["notice"]) and "CSM_SLOTS" in str(status.details["notice"])
        assert b"".join(speak(synthesizer, utterance(seed=1, max_seconds=0.4)))
    finally:
        synthesizer.close()


@pytest.mark.parametrize("engine", ["csm", "transformers"])
def test_health_has_no_notice_without_a_reason(engine: str, tiny: Callable[..., Path]) -> None:
    synthesizer = build(speech_settings(model=str(tiny()), engine=engine, device="cpu", precision="float32"))
    try:
        assert "notice" not in synthesizer.status().details
    finally:
        synthesizer.close()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json is missing"):
        build(speech_settings(model=str(tmp_path)))


@pytest.mark.parametrize(("given", "words"), [({"device": "cuda:99"}, "CSM_DEVICE"), ({"device": "mps"}, "Metal")])
def test_a_missing_device_is_refused(given: dict[str, str], words: str, tiny: Callable[..., Path]) -> None:
    with pytest.raises(ModelUnavailable, match=words):
        build(speech_settings(model=str(tiny()), **given))


def test_quantised_weights_are_refused_where_they_cannot_run(tiny: Callable[..., Path]) -> None:
    with pytest.raises(ModelUnavailable, match="CSM_PRECISION=int8"):
        build(speech_settings(model=str(tiny()), engine="transformers", precision="int8", device="cpu"))
