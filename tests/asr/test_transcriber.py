import logging
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from csm import log
from csm.asr.transcriber import Transcriber
from csm.audio.waveform import Waveform
from csm.errors import Cancelled, ModelUnavailable
from csm.settings import load
from tests.paths import ROOT
from tests.recordings import voice


def sound(number=0, rate=24_000):
    return Waveform(np.full(2400, number / 100, np.float32), rate)


class Scripted:
    """A recogniser that says `words`, after the door has been opened, or fails."""

    def __init__(self, words="Some words."):
        self.words, self.heard, self.threads = words, [], set()
        self.error = None
        self.door = threading.Event()
        self.door.set()
        self.begun = threading.Event()

    def recognize(self, waveform):
        self.heard.append(waveform)
        self.threads.add(threading.current_thread())
        self.begun.set()
        assert self.door.wait(60)
        if self.error:
            raise self.error
        return self.words


@pytest.fixture
def recognizer():
    made = Scripted()
    yield made
    made.door.set()


@pytest.fixture
def transcriber(recognizer):
    return Transcriber(lambda: recognizer)


def side_by_side(*calls):
    """The results of these calls, made at the same time."""
    results = [None] * len(calls)

    def run(number):
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()

    def join() -> list[Any]:
        for thread in threads:
            thread.join(60)
        return results

    return join


def test_the_second_request_with_a_voice_does_not_recognise_again(transcriber, recognizer):
    assert [transcriber.transcribe(sound(1)) for _ in range(3)] == ["Some words."] * 3
    assert len(recognizer.heard) == 1


def test_another_voice_is_another_voice(transcriber, recognizer):
    for one in (sound(1), sound(2), sound(1, 16_000)):
        transcriber.transcribe(one)
    assert len(recognizer.heard) == 3


def test_that_nothing_was_heard_is_remembered_too(transcriber, recognizer):
    recognizer.words = None
    assert transcriber.transcribe(sound()) is None and transcriber.transcribe(sound()) is None
    assert len(recognizer.heard) == 1


def test_the_least_recently_used_is_forgotten(recognizer):
    transcriber = Transcriber(lambda: recognizer, capacity=2)
    for number in (1, 2, 1, 3, 1, 2):
        transcriber.transcribe(sound(number))
    assert [float(one.samples[0]) for one in recognizer.heard] == pytest.approx([0.01, 0.02, 0.03, 0.02])


def test_requests_at_the_same_time_share_one_recognition(transcriber, recognizer):
    recognizer.door.clear()
    results = side_by_side(*[lambda: transcriber.transcribe(sound())] * 4)
    assert recognizer.begun.wait(10)
    recognizer.door.set()
    assert results() == ["Some words."] * 4 and len(recognizer.heard) == 1


def test_all_is_done_in_one_thread_that_does_not_keep_the_process(transcriber, recognizer):
    results = side_by_side(*[lambda number=number: transcriber.transcribe(sound(number)) for number in range(4)])
    assert results() == ["Some words."] * 4
    (thread,) = recognizer.threads
    assert thread is not threading.current_thread() and thread.daemon


def test_it_is_loaded_at_first_use_and_once():
    loaded = []

    def load() -> Any:
        loaded.append(1)
        return Scripted()

    transcriber = Transcriber(load)
    assert not loaded
    transcriber.transcribe(sound(1))
    transcriber.transcribe(sound(2))
    assert loaded == [1]


def test_a_hanging_recogniser_costs_each_request_little_and_later_ones_nothing(recognizer, caplog):
    transcriber = Transcriber(lambda: recognizer, max_seconds=0.3)
    recognizer.door.clear()
    assert transcriber.transcribe(sound(1)) is None
    assert "took over 0.3 s" in caplog.text
    waiting = time.monotonic()
    while "still busy with an earlier one" not in caplog.text and time.monotonic() < waiting + 30:
        assert transcriber.transcribe(sound(2)) is None
    assert "restart the server" in caplog.text
    recognizer.door.set()
    deadline = time.monotonic() + 30
    while (words := transcriber.transcribe(sound(1))) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert words == "Some words.", "what was recognised late is there for the next request"
    assert transcriber.transcribe(sound(3)) == "Some words."


def test_who_waits_in_vain_leaves_nothing_behind(recognizer):
    transcriber = Transcriber(lambda: recognizer, max_seconds=0.3)
    recognizer.door.clear()
    results = side_by_side(lambda: transcriber.transcribe(sound(1)), lambda: transcriber.transcribe(sound(2)))
    assert results() == [None, None]
    recognizer.door.set()
    deadline = time.monotonic() + 30
    while transcriber.transcribe(sound(3)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(recognizer.heard) == 2, "the one that had not begun is not recognised for nobody"


def test_a_client_that_disconnects_waits_no_longer_and_others_do(recognizer):
    transcriber = Transcriber(lambda: recognizer)
    recognizer.door.clear()
    results = side_by_side(lambda: transcriber.transcribe(sound(1)), lambda: transcriber.transcribe(sound(2)))
    assert recognizer.begun.wait(10)
    for number in (1, 2, 3):
        with pytest.raises(Cancelled):
            transcriber.transcribe(sound(number), lambda: True)
    recognizer.door.set()
    assert results() == ["Some words."] * 2
    assert transcriber.transcribe(sound(1)) == "Some words."
    assert len(recognizer.heard) == 2, "the third is not recognised for nobody"


def test_what_is_forgotten_is_recognised_again(transcriber, recognizer):
    transcriber.transcribe(sound(1))
    transcriber.forget(sound(1))
    transcriber.forget(sound(2))
    transcriber.transcribe(sound(1))
    assert len(recognizer.heard) == 2


def test_a_failing_recogniser_is_told_without_what_it_heard_and_tried_again(transcriber, recognizer, caplog):
    recognizer.error = RuntimeError("she said: my secret")
    assert transcriber.transcribe(sound()) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "RuntimeError at" in record.message and "secret" not in caplog.text
    recognizer.error = None
    assert transcriber.transcribe(sound()) == "Some words."


def test_a_failure_is_logged_with_the_id_of_its_request(transcriber, recognizer, log_lines):
    recognizer.error = RuntimeError("secret")
    token = log.request_id.set("r-1")
    assert transcriber.transcribe(sound()) is None
    log.request_id.reset(token)
    [line] = log_lines.getvalue().splitlines()
    assert line.endswith(" id=r-1")


def test_what_cannot_be_loaded_is_told_with_the_remedy_and_not_tried_for_each_request(caplog):
    tried = []

    def fail():
        tried.append(1)
        raise ModelUnavailable("it needs the package faster-whisper: pip install it")

    transcriber = Transcriber(fail, retry_seconds=3600)
    assert [transcriber.transcribe(sound(number)) for number in (1, 1, 2)] == [None] * 3
    assert len(tried) == 1
    assert "pip install it" in caplog.messages[0] and "tried again later" in caplog.messages[-1]


def test_loading_is_tried_again_later():
    tried = []

    def load_at_second_attempt():
        tried.append(1)
        if len(tried) == 1:
            raise ModelUnavailable("the network is away")
        return Scripted()

    transcriber = Transcriber(load_at_second_attempt, retry_seconds=0)
    assert transcriber.transcribe(sound()) is None
    assert transcriber.transcribe(sound()) == "Some words."


def test_closing_ends_what_waits_and_begins_nothing(transcriber, recognizer, caplog):
    recognizer.door.clear()
    results = side_by_side(lambda: transcriber.transcribe(sound(1)))
    assert recognizer.begun.wait(10)
    waiting = side_by_side(lambda: transcriber.transcribe(sound(2)))
    closing = side_by_side(transcriber.close)
    while "shutting down" not in caplog.text:
        assert transcriber.transcribe(sound(3)) is None
    recognizer.door.set()
    closing()
    assert results() == ["Some words."] and waiting() == [None] and len(recognizer.heard) == 1
    assert not any(thread.is_alive() for thread in recognizer.threads)


def test_closing_does_not_wait_for_a_recogniser_that_hangs(recognizer):
    transcriber = Transcriber(lambda: recognizer, max_seconds=0.2)
    recognizer.door.clear()
    assert transcriber.transcribe(sound()) is None
    transcriber.close()


def test_closing_one_that_was_never_used():
    Transcriber(Scripted).close()


@pytest.mark.slow
def test_a_process_may_end_in_the_middle_of_a_recognition(folder):
    script = f"""
import threading
from csm.asr.transcriber import Transcriber
from csm.settings import load
from tests.recordings import voice
transcriber = Transcriber.from_settings(load(None, transcriber={str(folder)!r}))
sound = voice()[0]
thread = threading.Thread(target=transcriber.transcribe, args=(sound,), daemon=True)
thread.start()
while transcriber._recognizer is None:
    thread.join(0.01)
transcriber.close()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_by_default_nothing_is_recognised():
    assert Transcriber.from_settings(load(None)) is None


@pytest.mark.slow
def test_with_the_real_recogniser_as_the_settings_name_it(folder, monkeypatch):
    transcriber = Transcriber.from_settings(load(None, transcriber=str(folder)))
    words = transcriber.transcribe(voice()[0])
    assert words and "John Dashwood" in words
    monkeypatch.setattr("csm.asr.whisper.WhisperRecognizer.recognize", None)
    assert transcriber.transcribe(voice()[0]) == words, "it is remembered"
