"""A synthesizer that is available at once and loads its model in the background.

Torch is imported in the loading thread only, so the server already answers on its port in the meantime.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from csm import log as logs
from csm import memory_tuning
from csm.engine.stats import EngineStats
from csm.errors import ModelUnavailable, NotReady
from csm.settings import Settings
from csm.speech.admission import Reservation
from csm.speech.api import Detection, Dialogue, Examination, Speech, State, Status, Synthesizer, Utterance
from csm.speech.voices.api import Voices

log = logging.getLogger(__name__)


class LoadingSynthesizer:
    """Load a synthesizer in a thread and delegate to it once it is loaded; see `csm.speech.api.Synthesizer`.

    Args:
        settings: of the server.
        build: returns the synthesizer; called in the thread, since it takes long.
    """

    def __init__(self, settings: Settings, build: Callable[[Settings], Synthesizer] | None = None) -> None:
        self._settings, self._build = settings, build or _build
        self._ready: Synthesizer | None = None
        self._failure: str | None = None
        self._draining = self._closed = False
        threading.Thread(target=self._load, name="model-loader", daemon=True).start()

    def status(self) -> Status:
        """See `Synthesizer.status`."""
        if self._ready is not None:
            return self._ready.status()
        state: State = "unhealthy" if self._failure else "draining" if self._draining else "loading"
        reasons = {"loading": "the model is being loaded", "draining": "the server is shutting down"}
        return Status(state, self._settings.model, reason=self._failure or reasons[state])

    def stats(self) -> EngineStats | None:
        """See `Synthesizer.stats`."""
        return None if self._ready is None else self._ready.stats()

    @property
    def voices(self) -> Voices:
        """See `Synthesizer.voices`."""
        return self._loaded().voices

    def reserve(self) -> Reservation:
        """See `Synthesizer.reserve`."""
        return self._loaded().reserve()

    def speak(
        self, request: Utterance | Dialogue, reservation: Reservation, is_disconnected: Callable[[], bool]
    ) -> Speech:
        """See `Synthesizer.speak`."""
        return self._loaded().speak(request, reservation, is_disconnected)

    def detect_watermark(self, recording: bytes) -> Detection:
        """See `Synthesizer.detect_watermark`."""
        return self._loaded().detect_watermark(recording)

    def examine_reference(self, recording: bytes, is_disconnected: Callable[[], bool]) -> Examination:
        """See `Synthesizer.examine_reference`."""
        return self._loaded().examine_reference(recording, is_disconnected)

    def drain(self) -> None:
        """See `Synthesizer.drain`."""
        self._draining = True
        if self._ready is not None:
            self._ready.drain()

    def close(self) -> None:
        """See `Synthesizer.close`."""
        self._draining = self._closed = True
        if self._ready is not None:
            self._ready.close()

    def _loaded(self) -> Synthesizer:
        if self._ready is None:
            raise NotReady(f"the server is not ready: {self.status().reason}", retry_after=10)
        return self._ready

    def _load(self) -> None:
        started = monotonic()
        log.info("loading %s", self._settings.model)
        try:
            synthesizer = self._build(self._settings)
        except ModelUnavailable as error:
            self._failure = str(error)
            log.error("the model is not available: %s", error)
        except Exception as error:
            self._failure = f"the model could not be loaded ({type(error).__name__}); the reason is in the server's log"
            log.exception("the model could not be loaded")
        else:
            memory_tuning.freeze_gc()
            self._ready = synthesizer
            # `drain` or `close` may have been called during the loading.
            if self._draining:
                synthesizer.drain()
            if self._closed:
                synthesizer.close()
            log.info("ready after %.1f s", monotonic() - started)


def _build(settings: Settings) -> Synthesizer:
    _set_compile_cache(settings.cache_folder / "inductor")
    # Must be set before torch is imported. Threads that spin at a barrier are fast on an idle machine. But if other
    # processes need the cores, such as ffmpeg, spinning uses up the time that the thread waited for would need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports torch and transformers, which takes seconds: the reason for the thread.
    from csm.speech.build import build

    logs.replace_own_handlers()
    if settings.log_format == "json":
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # that of huggingface_hub too
    return build(settings)


def _set_compile_cache(folder: Path) -> None:
    """Set the folder for compiled kernels, which torch creates on import, whether anything is compiled or not.

    The default is below `/tmp`; if `/tmp` is not writable, the import of torch fails. If `folder` cannot be created, a
    folder that exists is set, since "creating" that succeeds even on a read-only disk.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(__file__).parent
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
