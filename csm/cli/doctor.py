"""`csm doctor`: check whether the server can run here; print one line for each check, with the remedy if it fails."""

import argparse
import logging
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csm import asr
from csm.audio.watermark import weights
from csm.cli import machine
from csm.cli.audio import is_usable
from csm.cli.remote import RemoteError, health
from csm.errors import CsmError, ModelUnavailable
from csm.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from csm.engine.devices import Placement

MIN_PYTHON = (3, 11)
QUANTISED = ("int8", "int4")

SMALL_MODEL = 1_000_000_000
"""Size of the weights in bytes, below which disk and memory are not checked; the demo model is smaller."""

# Needs of CSM-1B, in bytes.
BUNDLE = 3_500_000_000
"""Disk space of the prepared int8 model; int4 takes less."""
PREPARING = 11_000_000_000
"""Memory while that is prepared (docs/performance.md)."""
SERVING = {
    "int8": 3_000_000_000,
    "int4": 3_000_000_000,
    "bfloat16": 5_000_000_000,
    "float16": 5_000_000_000,
    "float32": 9_500_000_000,
}
"""Memory for serving on a CPU (docs/performance.md)."""
SERVING_ON_CUDA = 8_000_000_000
"""Memory of the GPU for serving."""


class Problem(Exception):
    """A check failed; the message says what to do."""


class Unchecked(Exception):
    """A check could not be made; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Run all checks, or check a recording; return 1 if something must be done, else 0."""
    parser = argparse.ArgumentParser(
        prog="csm doctor",
        description="Check whether the server can run here with the present settings. Each check prints a line: `ok`, "
        "or `to do` and the remedy. The exit status is 1 where something must be done.",
    )
    parser.add_argument("--audio", type=Path, metavar="FILE", help="judge this recording as reference audio instead")
    given = parser.parse_args(arguments)
    # The lines of the checks report the same errors that libraries would log.
    logging.disable(logging.CRITICAL)
    try:
        return 0 if (Doctor().examine() if given.audio is None else is_usable(given.audio)) else 1
    finally:
        logging.disable(logging.NOTSET)


class Doctor:
    """Run the checks in order; later checks use the results of earlier ones."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._placement: Placement | None = None
        self._missing: int | None = None

    def examine(self) -> bool:
        """Run all checks, print a line for each, and return whether none failed."""
        checks: dict[str, Callable[[], str]] = {
            "python": self.python,
            "torch": self.torch,
            "settings": self.settings,
            "device": self.device,
            "ffmpeg": self.ffmpeg,
            "watermark": self.watermark,
            "transcriber": self.transcriber,
            "model": self.model,
            "disk": self.disk,
            "memory": self.memory,
            "port": self.port,
        }
        well = True
        for name, check in checks.items():
            try:
                result, detail = "ok", check()
            except Unchecked as error:
                result, detail = "not checked", str(error)
            except (Problem, CsmError, SettingsError, OSError) as error:
                result, detail, well = "to do", str(error), False
            print(f"{result:<12} {name}: {detail}", flush=True)
        return well

    def python(self) -> str:
        """Check the version of Python."""
        if sys.version_info < MIN_PYTHON:
            raise Problem(f"{platform.python_version()} is too old: install Python 3.11 or newer")
        return f"{platform.python_version()}, {sys.executable}"

    def torch(self) -> str:
        """Check that torch and torchaudio can be imported together."""
        try:
            import torch
            import torchaudio
        except Exception as error:
            # If the two do not match, the loader of shared libraries fails with various errors.
            reason = str(error).partition("\n")[0]
            raise Problem(
                f"torch and torchaudio cannot be imported ({reason}): install both anew, from one index: "
                "pip install --force-reinstall 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12'"
            ) from None
        return f"{torch.__version__}, torchaudio {torchaudio.__version__}"

    def settings(self) -> str:
        """Check the variables CSM_… and `.env`."""
        self._settings = load()
        return f"CSM_MODEL={self._settings.model} CSM_DEVICE={self._settings.device}"

    def device(self) -> str:
        """Check the device that the model will run on, its driver and its memory."""
        settings = self._known_settings()
        try:
            import torch

            from csm.engine.devices import place
        except Exception:
            raise Unchecked("torch cannot be imported") from None
        placement = self._placement = place(settings)
        if placement.notice:
            raise Problem(placement.notice)
        if placement.device.type != "cuda":
            return f"{placement.device.type}, {placement.precision}"
        free, total = torch.cuda.mem_get_info(placement.device)
        name = f"{placement.device} ({torch.cuda.get_device_name(placement.device)}, driver {machine.nvidia_driver()})"
        if free < SERVING_ON_CUDA and self._is_large():
            raise Problem(
                f"{name} has {_gb(free)} free, and {_gb(SERVING_ON_CUDA)} are needed: end what nvidia-smi shows, "
                "or set CSM_DEVICE=cpu"
            )
        return f"{name}, {placement.precision}, {_gb(free)} of {_gb(total)} free"

    def ffmpeg(self) -> str:
        """Check ffmpeg, which decodes reference audio."""
        from csm.audio.decode import ffmpeg_path

        path = ffmpeg_path()
        told = subprocess.run([path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        return f"{told.stdout.split()[2]}, {path}"

    def watermark(self) -> str:
        """Check the weights of the watermark, if it is on."""
        weights.check(self._known_settings().watermark)
        return "on" if self._known_settings().watermark else "off"

    def transcriber(self) -> str:
        """Check the recogniser of reference audio without a transcript."""
        model = self._known_settings().transcriber
        asr.check(model)
        return model

    def model(self) -> str:
        """Check that the checkpoint is here or can be downloaded."""
        from huggingface_hub import get_token

        from csm.model import hub

        settings = self._known_settings()
        hub.check(settings)
        if hub.local_folder(settings) is not None:
            self._missing = 0
            return f"{settings.model} is on this machine"
        try:
            self._missing = hub.missing_bytes(settings)
        except ModelUnavailable:
            return f"{settings.model} is in the cache; without the Hub it is not known whether it is complete"
        if not self._missing:
            return f"{settings.model} is in the cache"
        token = "with" if get_token() else "without"
        return f"{settings.model} may be read {token} a token; {_gb(self._missing)} will be downloaded"

    def disk(self) -> str:
        """Check that there is disk space for the download and the prepared model."""
        from huggingface_hub.constants import HF_HUB_CACHE

        settings = self._known_settings()
        needs = {Path(HF_HUB_CACHE): ("HF_HOME", self._missing or 0)}
        if self._to_be_prepared():
            needs[settings.cache_folder] = "CSM_CACHE_DIR", BUNDLE
        told = []
        for folder, (variable, needed) in needs.items():
            free = machine.free_disk(folder)
            if free < needed:
                raise Problem(
                    f"{_gb(free)} can be written in {machine.existing(folder)}, and {_gb(needed)} are needed: "
                    f"make room, or set {variable} to another folder"
                )
            told.append(f"{_gb(free)} free in {machine.existing(folder)} ({_gb(needed)} needed)")
        return "; ".join(told)

    def memory(self) -> str:
        """Check that there is enough memory to prepare and serve the model."""
        if self._placement is None:
            raise Unchecked("the device is not known")
        free = machine.free_memory()
        if free is None:
            raise Unchecked("this system does not tell")
        on_cpu = self._placement.device.type == "cpu"
        needed = SERVING[self._placement.precision] if on_cpu and self._is_large() else 0
        remedy = "end other programs, or set CSM_PRECISION=int8"
        if self._to_be_prepared():
            needed, remedy = PREPARING, "end other programs, or add swap for the minutes that preparing the model takes"
        if free < needed:
            raise Problem(f"{_gb(free)} are free, and {_gb(needed)} are needed: {remedy}")
        return f"{_gb(free)} free ({_gb(needed)} needed)"

    def port(self) -> str:
        """Check that the address is free, or that a server of this project already listens there."""
        from csm.server import check_ports

        settings = self._known_settings()
        try:
            check_ports(settings)
        except OSError:
            try:
                found = health(f"http://127.0.0.1:{settings.port}")
            except RemoteError:
                pass
            else:
                return f"{settings.port} is taken by a server with {found['model']} that is {found['status']}"
            raise
        return f"{settings.host}:{settings.port} is free"

    def _known_settings(self) -> Settings:
        if self._settings is None:
            raise Unchecked("the settings are wrong")
        return self._settings

    def _is_large(self) -> bool:
        """Return whether the model is about as large as CSM-1B."""
        from csm.model import hub

        folder = hub.local_folder(self._known_settings())
        return folder is None or sum(path.stat().st_size for path in folder.glob("*.safetensors")) > SMALL_MODEL

    def _to_be_prepared(self) -> bool:
        """Return whether the first start will quantise a large model."""
        if self._placement is None or self._placement.precision not in QUANTISED or not self._is_large():
            return False
        if self._missing != 0:
            return True
        from csm.engine.openvino.bundle import folder_of
        from csm.engine.openvino.prepare import DONE
        from csm.model import hub
        from csm.model.checkpoint import open_checkpoint

        settings = self._known_settings()
        checkpoint = open_checkpoint(hub.fetch(settings))
        return not (folder_of(settings, checkpoint, self._placement.precision) / DONE).exists()


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
