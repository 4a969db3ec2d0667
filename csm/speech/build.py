"""Build a synthesizer from the settings: fetch, load and warm up the model."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from csm.audio.decode import ffmpeg_path
from csm.audio.watermark.perth import Perth
from csm.audio.waveform import Waveform
from csm.engine.api import Engine, EngineInfo, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import FLOATS, Placement, place
from csm.engine.runtimes.base import Runtime
from csm.engine.runtimes.cuda import CudaRuntime
from csm.engine.runtimes.torch import TorchRuntime
from csm.engine.transformers_engine import TransformersEngine
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.model.checkpoint import Checkpoint, open_checkpoint
from csm.settings import Settings
from csm.speech.synthesizer import CsmSynthesizer
from csm.speech.voice import Voice, conversation

log = logging.getLogger(__name__)

WARM_UP_FRAMES = 2


def build(settings: Settings) -> CsmSynthesizer:
    """Fetch, load and warm up the model.

    Raises:
        ModelUnavailable: the model cannot be fetched, read or run here, or ffmpeg or the watermark's weights are
            missing; the message names the remedy.
    """
    ffmpeg_path()  # raises here, so that a server that cannot decode reference audio never becomes healthy
    perth = Perth.load() if settings.watermark else None
    folder = hub.fetch(settings)
    engine = make_engine(settings, folder)
    warm_up(engine)
    return CsmSynthesizer(settings, engine, _details(settings, engine), perth)


def make_engine(settings: Settings, folder: Path) -> Engine:
    """Return the engine that the settings select, with the checkpoint in `folder`.

    Raises:
        ModelUnavailable: the checkpoint cannot be read or run here; the message names the remedy.
    """
    checkpoint, placement = open_checkpoint(folder), place(settings)
    if settings.engine == "transformers":
        return TransformersEngine(checkpoint, placement, settings.deadline_seconds)
    runtime = make_runtime(settings, checkpoint, placement)
    codec = checkpoint.config.codec_config
    info = EngineInfo(
        "csm",
        str(placement.device),
        placement.precision,
        runtime.rows,
        codec.sampling_rate,
        codec.frame_rate,
        tuple(filter(None, (placement.notice, runtime.notice))),
        runtime.codec,
    )
    return CsmEngine(
        runtime, info, checkpoint.tokenizer, settings.voice_cache_mb * 1_000_000, settings.deadline_seconds
    )


def make_runtime(settings: Settings, checkpoint: Checkpoint, placement: Placement) -> Runtime:
    """Load the model onto its device, in the chosen precision.

    Raises:
        ModelUnavailable: the weights cannot be read, or quantised weights are requested and OpenVINO is not installed.
    """
    if placement.device.type == "cuda":
        return CudaRuntime(checkpoint, placement, settings.slots)
    if placement.precision in FLOATS:
        return TorchRuntime(checkpoint, placement, settings.slots)
    try:
        # Imported only if needed: OpenVINO is large, and images for GPUs do not contain it.
        from csm.engine.openvino.bundle import open_bundle
        from csm.engine.openvino.runtime import OpenVinoRuntime
    except ImportError:
        raise ModelUnavailable(
            f"CSM_PRECISION={placement.precision} needs the packages openvino and nncf: install them, "
            "or set CSM_PRECISION=float32"
        ) from None
    return OpenVinoRuntime(open_bundle(settings, checkpoint, placement.precision), settings.slots)


def warm_up(engine: Engine) -> None:
    """Generate a few frames from a second of silence, so that no request waits for first-time initialisation."""
    rate = engine.info.sample_rate
    voice = Voice(Waveform(np.zeros(rate, np.float32), rate), "Warm.")
    never: Callable[[], bool] = lambda: False  # noqa: E731
    for _ in engine.generate(conversation(voice, "Up."), Sampling(seed=0), WARM_UP_FRAMES, never):
        pass


def _details(settings: Settings, engine: Engine) -> dict[str, object]:
    info = engine.info
    details: dict[str, object] = {"engine": info.name, "precision": info.precision, "slots": info.slots}
    details["watermark"] = "perth" if settings.watermark else "none"
    notices = [*info.notices]
    if settings.is_demo:
        details["demo"] = True
        notices.append("this is the small demo model, not of CSM-1B's quality")
    for notice in notices:
        log.warning("%s", notice)
    return details | ({"notice": "; ".join(notices)} if notices else {})
