"""Examine one precision in its own process: codes, agreement, speed and memory.

    python -m csm.verify.examine JOB

In its own process, a precision that runs out of memory or loses the device does not end the others, and its memory can
be measured.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torchaudio.functional import resample

import csm
from csm import log, memory_tuning
from csm.audio.decode import decode
from csm.engine.api import EngineInfo
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import place
from csm.engine.runtimes.base import Runtime
from csm.errors import CsmError, ModelUnavailable
from csm.model.checkpoint import open_checkpoint
from csm.model.conversation import Conversation, Turn, text_ids
from csm.settings import load
from csm.speech.build import make_runtime
from csm.verify.agreement import agreement
from csm.verify.speaking import greedy, real_time_factor, timeline

LOOPBACK = "127.0.0.1"
"""Replaces the server's address, which may require keys; no socket is opened here."""

MAX_RECORDING_SECONDS = 60.0
"""Length of the recording that is read."""


@dataclass(frozen=True)
class Job:
    """What to examine.

    Attributes:
        folder: of the checkpoint.
        device: of torch.
        precision: of the weights.
        role: of the turn to generate.
        text: of that turn.
        codes: known codes of that turn, `[frames, codebooks]`, or None.
        frames: number to generate greedily.
        timed_frames: number to generate for the measurement of speed.
        recording: a file to encode, or None.
    """

    folder: str
    device: str
    precision: str
    role: str
    text: str
    codes: list[list[int]] | None
    frames: int
    timed_frames: int
    recording: str | None = None


def examine(job: Job) -> dict[str, Any]:
    """Load the model and test it.

    Raises:
        CsmError: the model cannot be loaded or run here, or generates nothing.
    """
    settings = load(model=job.folder, device=job.device, precision=job.precision, slots=1, engine="csm", host=LOOPBACK)
    began = perf_counter()
    checkpoint, placement = open_checkpoint(Path(job.folder)), place(settings)
    runtime = make_runtime(settings, checkpoint, placement)
    codec, turn = checkpoint.config.codec_config, Turn(job.role, job.text)
    info = EngineInfo("csm", str(placement.device), placement.precision, 1, codec.sampling_rate, codec.frame_rate)
    with contextlib.closing(CsmEngine(runtime, info, checkpoint.tokenizer, voice_bytes=0, patience=3600)) as engine:
        loaded = perf_counter() - began
        said = greedy(engine, Conversation((turn,)), job.frames)
        line = timeline(engine, Conversation((turn,)), seed=0, frames=job.timed_frames)
        known = job.codes or said
        agreed = agreement(runtime, text_ids(turn, checkpoint.tokenizer), known) if known else None
        encoded = encode(runtime, Path(job.recording), codec.sampling_rate) if job.recording else None
        return {
            "said": said,
            "agreement": agreed,
            "encoded": encoded,
            "speed": {
                "rtf": real_time_factor(line, codec.frame_rate) if len(line) > 1 else None,
                "first_audio_seconds": line[0][0] if line else None,
                "timed_frames": sum(count for _, count in line[1:]),
                "load_seconds": loaded,
                "notices": [notice for notice in (placement.notice, runtime.notice) if notice],
                **peak_memory(),
            },
        }


def encode(runtime: Runtime, recording: Path, rate: int) -> list[list[int]]:
    """Return the codes `[frames, codebooks]` of a recording, at the codec's sample rate in Hz."""
    heard = decode(recording.read_bytes(), MAX_RECORDING_SECONDS)
    samples = resample(torch.from_numpy(np.array(heard.samples)), heard.sample_rate, rate)
    codes: list[list[int]] = runtime.encode(samples).tolist()
    return codes


def peak_memory() -> dict[str, float]:
    """Return the peak memory of this process in GB; on Windows, that on a GPU only."""
    peak = {}
    if sys.platform != "win32":
        import resource

        # Kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak["resident_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    if torch.cuda.is_available():
        peak["cuda_gb"] = torch.cuda.max_memory_reserved() / 1e9
    return peak


def examine_in_subprocess(job: Job) -> dict[str, Any]:
    """Run `examine` in a new process.

    Raises:
        ModelUnavailable: `examine` failed, or the process ended without a result.
    """
    command = [sys.executable, "-m", __name__, json.dumps(asdict(job))]
    here = str(Path(csm.__file__).parents[1])
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ  # as the server does
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if run.returncode == -signal.SIGKILL:
        raise ModelUnavailable("the process was killed, most likely for want of memory: free some, or add swap")
    if run.returncode:
        raise ModelUnavailable("the process failed; the reason is printed above")
    answer: dict[str, Any] = json.loads(run.stdout)
    if "refused" in answer:
        raise ModelUnavailable(answer["refused"])
    return answer


def main() -> None:
    """Run the job on the command line; write its result to standard output as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    # Libraries print their progress to standard output, which must contain only the result.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    log.configure(load(host=LOOPBACK).log_level)
    memory_tuning.configure_malloc()
    try:
        result = examine(job)
    except CsmError as error:
        result = {"refused": str(error)}
    json.dump(result, answer)
    answer.close()


if __name__ == "__main__":
    main()
