"""The server answers before the model is loaded, and says why when it cannot be."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from csm.errors import ModelUnavailable, NotReady
from csm.settings import Settings
from csm.speech.loading import LoadingSynthesizer
from csm.speech.synthesizer import CsmSynthesizer
from tests.paths import ROOT
from tests.polling import wait_until
from tests.speech.fake_engine import FakeEngine
from tests.speech.utterances import speak, speech_settings, utterance


class Builder:
    """Builds a synthesizer once it is allowed to, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.allowed, self.error, self.engine = threading.Event(), error, FakeEngine()

    def __call__(self, given: Settings) -> CsmSynthesizer:
        assert self.allowed.wait(30)
        if self.error:
            raise self.error
        return CsmSynthesizer(given, self.engine, {})


@pytest.fixture
def builder() -> Iterator[Builder]:
    made = Builder()
    yield made
    made.allowed.set()


def test_the_status_is_loading_then_healthy(builder: Builder) -> None:
    loading = LoadingSynthesizer(speech_settings(), builder)
    status = loading.status()
    assert (status.state, status.model, status.device) == ("loading", "demo", None) and status.reason
    with pytest.raises(NotReady, match="being loaded") as told:
        loading.reserve()
    assert told.value.retry_after > 0
    builder.allowed.set()
    wait_until(lambda: loading.status().state == "healthy")
    assert len(list(speak(loading, utterance()))) == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModelUnavailable("accept the terms at such a page"), "accept the terms"),
        (RuntimeError("in /a/secret/path"), "RuntimeError"),
    ],
)
def test_a_model_that_cannot_be_loaded_makes_the_status_unhealthy_with_the_reason(error: Exception, words: str) -> None:
    builder = Builder(error)
    builder.allowed.set()
    loading = LoadingSynthesizer(speech_settings(), builder)
    wait_until(lambda: loading.status().state != "loading")
    status = loading.status()
    assert status.state == "unhealthy" and words in str(status.reason) and "secret" not in str(status.reason)
    with pytest.raises(NotReady, match=words):
        loading.reserve()


def test_draining_while_loading_never_becomes_healthy(builder: Builder) -> None:
    loading = LoadingSynthesizer(speech_settings(), builder)
    loading.drain()
    assert loading.status().state == "draining"
    builder.allowed.set()
    wait_until(lambda: loading._ready is not None)
    wait_until(lambda: loading.status().state == "draining" and loading._ready._draining)
    with pytest.raises(NotReady):
        loading.reserve()


def test_closing_while_loading_closes_the_model_once_it_is_loaded(builder: Builder) -> None:
    loading = LoadingSynthesizer(speech_settings(), builder)
    loading.close()
    builder.allowed.set()
    wait_until(lambda: builder.engine.is_closed)
    assert loading.status().state == "draining"


def test_drain_and_close_reach_the_model(builder: Builder) -> None:
    builder.allowed.set()
    loading = LoadingSynthesizer(speech_settings(), builder)
    wait_until(lambda: loading.status().state == "healthy")
    loading.drain()
    assert loading.status().state == "draining" and not builder.engine.is_closed
    loading.close()
    assert builder.engine.is_closed


def test_torch_is_not_imported_before_loading() -> None:
    code = "import csm.speech.loading, sys; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


SETTLED = """
import gc, time
from csm.settings import load
from csm.speech.loading import LoadingSynthesizer
loading = LoadingSynthesizer(load(None, model="demo"))
while loading.status().state == "loading":
    time.sleep(0.1)
print(loading.status().state, gc.get_freeze_count(), len(gc.get_objects()))
loading.close()
"""


@pytest.mark.slow
def test_the_loaded_model_is_frozen_for_the_garbage_collector() -> None:
    command = [sys.executable, "-c", SETTLED]
    said = subprocess.run(command, cwd=ROOT, timeout=120, check=True, capture_output=True, text=True)
    state, frozen, left = said.stdout.split()
    assert state == "healthy" and int(frozen) > 200_000 > 10 * int(left)
