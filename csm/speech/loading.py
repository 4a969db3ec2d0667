"""A synthesizer that answers at once and loads its model in the background.

Free of torch until the loading thread begins: the port answers while the rest is imported.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from csm import memory_tuning
from csm.errors import ModelUnavailable, NotReady
from csm.settings import Settings
from csm.speech.admission import Reservation
from csm.speech.api import Speech, State, Status, Synthesizer, Utterance

log = logging.getLogger(__name__)


class LoadingSynthesizer:
    """Stands in for the synthesizer that `build` makes until it is loaded; see `csm.speech.api.Synthesizer`.

    Args:
        settings: of the server.
        build: makes the real one, slowly.
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

    def reserve(self) -> Reservation:
        """See `Synthesizer.reserve`."""
        return self._loaded().reserve()

    def speak(self, utterance: Utterance, reservation: Reservation, is_disconnected: Callable[[], bool]) -> Speech:
        """See `Synthesizer.speak`."""
        return self._loaded().speak(utterance, reservation, is_disconnected)

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
            # Told so while there was nobody to tell.
            if self._draining:
                synthesizer.drain()
            if self._closed:
                synthesizer.close()
            log.info("ready after %.1f s", monotonic() - started)


def _build(settings: Settings) -> Synthesizer:
    _name_a_cache(settings.cache_folder / "inductor")
    # Read when torch loads. Spinning threads are quick on an idle machine; where others work too, as ffmpeg does
    # here and neighbours do in the cloud, each wait at a barrier burns the time slice that would end it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports torch and transformers, which takes seconds: that is what the thread is for.
    from csm.speech.build import build

    return build(settings)


def _name_a_cache(folder: Path) -> None:
    """Name the folder for compiled kernels that torch makes when it is imported, whether anything is compiled or not.

    By default that is one below `/tmp`, and where nothing can be written there, the import fails. A folder that exists
    already is made without an error even on a read-only disk.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(__file__).parent
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
