"""From reference audio and text to PCM, with a fake engine."""

import struct
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from csm.asr.transcriber import Transcriber
from csm.audio.decode import decode
from csm.audio.waveform import Waveform
from csm.errors import (
    Busy,
    Cancelled,
    CsmError,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    NotReady,
    UndecodableAudio,
    UnusableReference,
)
from csm.speech.endings import max_seconds
from csm.speech.narration import MAX_RETRIES
from csm.speech.synthesizer import DEMO_HISTORY_SECONDS, HISTORY_SECONDS, CsmSynthesizer, history_seconds
from tests.polling import wait_until
from tests.reference_audio import synthetic_speech
from tests.speech.fake_engine import FakeEngine
from tests.speech.utterances import speak, speech_settings, utterance


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def synthesizer(engine: FakeEngine) -> CsmSynthesizer:
    return CsmSynthesizer(speech_settings(), engine, {"demo": True})


def reserved(synthesizer: CsmSynthesizer) -> int:
    status = synthesizer.status()
    return status.running + status.waiting


def test_each_chunk_of_the_engine_is_one_chunk_of_pcm(synthesizer: CsmSynthesizer) -> None:
    chunks = list(speak(synthesizer, utterance()))
    # The last 5 ms are held back: they are faded out if nothing follows.
    assert [len(chunk) for chunk in chunks] == [3840 - 240, 3840, 240]
    assert struct.unpack("<h", chunks[1][-2:]) == (round(32767 * 2 / 8),)


def test_the_conversation_is_the_voice_then_the_text_in_one_role(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    list(speak(synthesizer, utterance("Say <|AUDIO|> this.", transcript=" Heard\n<|x|>before. ")))
    heard, target = engine.calls[0].conversation.turns
    assert (heard.role, heard.text, target.role, target.text) == ("0", "Heard before.", "0", "Say this.")
    assert heard.audio is not None and heard.audio.sample_rate == 24_000 and target.audio is None
    assert 1.0 < heard.audio.seconds <= 2.2


def test_a_voice_without_transcript_is_a_turn_without_text(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    list(speak(synthesizer, utterance(transcript=None)))
    assert engine.calls[0].conversation.context[0].text == ""


@pytest.mark.parametrize(
    ("limit", "setting", "frames"),
    [
        (None, 90.0, round(max_seconds("Hello there.") * 12.5)),
        (None, 2.0, 25),
        (1.0, 90.0, 12),
        (0.01, 90.0, 1),
    ],
)
def test_frames_are_capped_by_text_request_and_settings(
    engine: FakeEngine, limit: float | None, setting: float, frames: int
) -> None:
    synthesizer = CsmSynthesizer(speech_settings(max_audio_seconds=setting), engine, {})
    list(speak(synthesizer, utterance("Hello there.", max_seconds=limit)))
    assert engine.calls[0].max_frames == frames


def test_a_long_text_is_generated_in_segments(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    text = "This sentence is said again and again, and each time it is the same. " * 20
    speech = speak(synthesizer, utterance(text, stream=False))
    list(speech)
    assert speech.notes.segments > 4 and speech.notes.finish_reason is not None
    heard = " ".join(dict.fromkeys(call.conversation.target.text for call in engine.calls))
    assert all(word in heard for word in text.split())


def test_sampling_is_taken_from_the_request(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    list(speak(synthesizer, utterance(temperature=0.3, top_k=7, seed=2**63 - 1)))
    sampling = engine.calls[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.3, 7, 2**63 - 1)


def test_without_a_seed_every_request_gets_a_random_one(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    for _ in range(8):
        list(speak(synthesizer, utterance()))
    seeds = {call.sampling.seed for call in engine.calls}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("silent", [1, MAX_RETRIES])
def test_a_generation_without_frames_is_tried_again_with_another_seed(silent: int) -> None:
    engine = FakeEngine(silent=silent)
    chunks = list(speak(CsmSynthesizer(speech_settings(), engine, {}), utterance(seed=2**63 - 1)))
    assert len(chunks) == 3
    assert [call.sampling.seed for call in engine.calls] == [2**63 - 1, 0, 1][: silent + 1]


def test_after_the_last_attempt_the_error_says_what_to_do() -> None:
    engine = FakeEngine(silent=1 + MAX_RETRIES)
    synthesizer = CsmSynthesizer(speech_settings(), engine, {})
    with pytest.raises(GenerationFailed, match="rephrase"):
        next(speak(synthesizer, utterance()))
    assert len(engine.calls) == 1 + MAX_RETRIES and all(call.closed for call in engine.calls)
    assert reserved(synthesizer) == 0


def test_the_engine_asks_whether_the_client_is_disconnected(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    disconnected = [False]
    speaking = speak(synthesizer, utterance(), lambda: disconnected[0])
    next(speaking)
    assert engine.calls[0].is_disconnected() is False
    disconnected[0] = True
    assert engine.calls[0].is_disconnected() is True
    speaking.close()


def test_requests_over_slots_and_queue_are_refused() -> None:
    engine = FakeEngine(slots=2)
    synthesizer = CsmSynthesizer(speech_settings(queue=3), engine, {})
    speaking = [speak(synthesizer, utterance()) for _ in range(5)]
    for one in speaking:
        next(one)
    with pytest.raises(Busy) as refused:
        synthesizer.reserve()
    assert refused.value.retry_after > 0
    for one in speaking:
        one.close()
    assert reserved(synthesizer) == 0


def drained(synthesizer: CsmSynthesizer) -> None:
    list(speak(synthesizer, utterance()))


def closed_midway(synthesizer: CsmSynthesizer) -> None:
    speaking = speak(synthesizer, utterance())
    next(speaking)
    assert reserved(synthesizer) == 1
    speaking.close()


def dropped_midway(synthesizer: CsmSynthesizer) -> None:
    next(speak(synthesizer, utterance()))


def closed_before_the_first(synthesizer: CsmSynthesizer) -> None:
    """An iterator that was never started cannot release anything: its owner does."""
    with synthesizer.reserve() as reservation:
        synthesizer.speak(utterance(), reservation, lambda: False).close()


def failing(kind: type[CsmError], **given: Any) -> Callable[[CsmSynthesizer], None]:
    def fail(synthesizer: CsmSynthesizer) -> None:
        with pytest.raises(kind):
            list(speak(synthesizer, utterance(**given)))

    return fail


@pytest.mark.parametrize(
    "leave",
    [
        drained,
        closed_midway,
        dropped_midway,
        closed_before_the_first,
        failing(UndecodableAudio, reference=b"text, not sound"),
        failing(UndecodableAudio, reference=b""),
        failing(UnusableReference, reference=synthetic_speech(0.3)),
        failing(InvalidRequest, text="<|AUDIO|> \u200b"),
    ],
)
def test_capacity_is_free_again_however_a_request_ends(
    leave: Callable[[CsmSynthesizer], None], synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    leave(synthesizer)
    assert reserved(synthesizer) == 0 and engine.running == 0
    assert all(call.closed for call in engine.calls)


@pytest.mark.parametrize("kind", [GenerationFailed, DeadlineExceeded, Cancelled, InvalidRequest])
@pytest.mark.parametrize("chunks", [0, 2])
def test_capacity_is_free_again_when_the_engine_fails(kind: type[CsmError], chunks: int) -> None:
    synthesizer = CsmSynthesizer(speech_settings(), FakeEngine(chunks=chunks, error=kind("so it goes")), {})
    heard: list[bytes] = []
    with pytest.raises(kind, match="so it goes"):
        heard.extend(iter(speak(synthesizer, utterance())))
    assert reserved(synthesizer) == 0


def test_the_status_counts_running_and_waiting_requests(synthesizer: CsmSynthesizer, engine: FakeEngine) -> None:
    idle = synthesizer.status()
    assert (idle.state, idle.model, idle.device, idle.running, idle.waiting) == ("healthy", "demo", "cpu", 0, 0)
    assert idle.details["demo"] is True and idle.reason is None
    speaking = [speak(synthesizer, utterance()) for _ in range(2)]
    for one in speaking:
        next(one)
    engine.running = 1
    busy = synthesizer.status()
    assert (busy.running, busy.waiting) == (1, 1)
    engine.running = 2
    for one in speaking:
        one.close()


def test_draining_refuses_new_requests_and_finishes_running_ones(
    synthesizer: CsmSynthesizer, engine: FakeEngine
) -> None:
    speaking = speak(synthesizer, utterance())
    next(speaking)
    synthesizer.drain()
    assert synthesizer.status().state == "draining" and synthesizer.status().reason
    with pytest.raises(NotReady, match="shutting down") as told:
        synthesizer.reserve()
    assert told.value.retry_after > 0
    assert len(list(speaking)) == 2 and not engine.is_closed
    synthesizer.close()
    assert engine.is_closed


def test_closing_ends_the_recogniser(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = Recognizer("Words.")
    transcriber = Transcriber(lambda: recognizer)
    monkeypatch.setattr(Transcriber, "from_settings", lambda settings: transcriber)
    CsmSynthesizer(speech_settings(), engine, {}).close()
    assert transcriber.transcribe(Waveform(np.zeros(2400, np.float32), 24_000)) is None and recognizer.asked == 0


def test_a_lost_device_makes_the_synthesizer_unhealthy() -> None:
    engine = FakeEngine(lost="the device is lost: some error")
    synthesizer = CsmSynthesizer(speech_settings(), engine, {})
    assert (synthesizer.status().state, synthesizer.status().reason) == ("unhealthy", engine.lost)
    with pytest.raises(NotReady, match="device is lost"):
        synthesizer.reserve()


def test_many_threads_share_the_capacity() -> None:
    engine = FakeEngine(slots=2)
    engine.hold.clear()
    synthesizer = CsmSynthesizer(speech_settings(queue=2), engine, {})
    results: list[object] = []

    def come() -> None:
        try:
            results.append(len(list(speak(synthesizer, utterance()))))
        except Busy:
            results.append("busy")
            if results.count("busy") == 6:
                engine.hold.set()

    threads = [threading.Thread(target=come) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, results)) == ["3"] * 4 + ["busy"] * 6
    assert reserved(synthesizer) == 0


class Decoding:
    """The real decoder, but one that waits for `go`; counts how many decode at once."""

    def __init__(self) -> None:
        self.go, self.lock = threading.Event(), threading.Lock()
        self.now = self.peak = 0

    def __call__(self, data: bytes, max_seconds: float) -> Waveform:
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        assert self.go.wait(120)
        with self.lock:
            self.now -= 1
        return decode(data, max_seconds)


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Decoding:
    """Put `Decoding` in the place of the decoder, of which two may run at once."""
    decoding = Decoding()
    monkeypatch.setattr("csm.speech.reference.decode", decoding)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return decoding


def test_decoding_is_limited_to_the_processors_and_waiting_requests_can_be_cancelled(
    decoding: Decoding,
) -> None:
    synthesizer = CsmSynthesizer(speech_settings(queue=9), FakeEngine(), {})
    with ThreadPoolExecutor(5) as pool:
        heard = [pool.submit(lambda: list(speak(synthesizer, utterance()))) for _ in range(5)]
        wait_until(lambda: reserved(synthesizer) == 5 and decoding.now == 2)
        with pytest.raises(Cancelled):
            next(speak(synthesizer, utterance(), lambda: True))
        assert reserved(synthesizer) == 5
        decoding.go.set()
        assert all(len(one.result()) == 3 for one in heard)
    assert decoding.peak == 2 and reserved(synthesizer) == 0


def test_waiting_too_long_for_a_decoder_is_a_missed_deadline(decoding: Decoding) -> None:
    synthesizer = CsmSynthesizer(speech_settings(queue=9, deadline_seconds=0.5), FakeEngine(), {})
    with ThreadPoolExecutor(2) as pool:
        heard = [pool.submit(lambda: list(speak(synthesizer, utterance()))) for _ in range(2)]
        wait_until(lambda: decoding.now == 2)
        with pytest.raises(DeadlineExceeded):
            next(speak(synthesizer, utterance()))
        decoding.go.set()
        assert all(len(one.result()) == 3 for one in heard)


def test_the_reference_audio_is_released_once_it_is_decoded(synthesizer: CsmSynthesizer) -> None:
    """It is not kept for the minutes that an answer may take."""
    audio = WeaklyReferenceable(synthetic_speech())
    kept = weakref.ref(audio)
    speaking = speak(synthesizer, utterance(reference=audio))
    del audio
    next(speaking)
    assert kept() is None
    speaking.close()


class WeaklyReferenceable(bytearray):
    """Bytes that weak references can point to."""


def test_speed_changes_the_length_and_max_seconds_limits_the_result() -> None:
    def heard(**given: Any) -> int:
        synthesizer = CsmSynthesizer(speech_settings(), FakeEngine(chunks=20), {})
        return sum(map(len, speak(synthesizer, utterance("A text to be said.", **given)))) // 2

    whole = heard()
    assert heard(speed=2.0) == pytest.approx(whole / 2, abs=2) and heard(speed=0.5) == pytest.approx(whole * 2, abs=2)
    assert heard(speed=2.0, max_seconds=0.4) == pytest.approx(9600, abs=2)


class Recognizer:
    """Recognizes the same words in every recording."""

    def __init__(self, words: str | None) -> None:
        self.words, self.asked = words, 0

    def recognize(self, waveform: Waveform) -> str | None:
        self.asked += 1
        return self.words


@pytest.mark.parametrize(
    ("words", "given", "source", "transcript"),
    [
        ("Words that\nwere heard.", None, "recognized", "Words that were heard."),
        ("Words that were heard.", "Given words.", "given", "Given words."),
        (None, None, "none", ""),
    ],
)
def test_a_missing_transcript_is_recognized_or_left_empty(
    words: str | None,
    given: str | None,
    source: str,
    transcript: str,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Transcriber, "from_settings", lambda settings: Transcriber(lambda: Recognizer(words)))
    synthesizer = CsmSynthesizer(speech_settings(), engine, {})
    speech = speak(synthesizer, utterance(transcript=given))
    next(speech)
    assert speech.notes.transcript_source == source
    assert speech.notes.recognized == (transcript if source == "recognized" else None)
    assert engine.calls[0].conversation.context[0].text == transcript
    speech.close()


def test_the_language_of_the_text_is_noted(synthesizer: CsmSynthesizer) -> None:
    for text, language in (("Good morning to all of you.", "en"), ("Guten Morgen, wie geht es Ihnen heute?", "de")):
        speech = speak(synthesizer, utterance(text))
        list(speech)
        assert speech.notes.language == language


def test_what_should_be_better_about_the_reference_audio_is_noted_before_the_first_chunk(
    synthesizer: CsmSynthesizer,
) -> None:
    speech = speak(synthesizer, utterance())
    next(speech)
    assert [line.partition(":")[0] for line in speech.notes.reference_warnings][:1] == ["short"]
    speech.close()


def test_a_recording_is_examined_without_a_place_of_those_who_speak(synthesizer: CsmSynthesizer) -> None:
    found = synthesizer.examine_reference(synthetic_speech(), lambda: False)
    assert [line.partition(":")[0] for line in found.warnings][:1] == ["short"]
    assert found.report["seconds"] and found.transcript == "" and reserved(synthesizer) == 0
    with pytest.raises(UndecodableAudio):
        synthesizer.examine_reference(b"no audio", lambda: False)


def test_a_recording_to_be_examined_waits_for_a_decoder(decoding: Decoding) -> None:
    synthesizer = CsmSynthesizer(speech_settings(queue=9, deadline_seconds=0.1), FakeEngine(), {})
    with ThreadPoolExecutor(2) as pool:
        heard = [pool.submit(lambda: list(speak(synthesizer, utterance()))) for _ in range(2)]
        wait_until(lambda: decoding.now == 2)
        with pytest.raises(DeadlineExceeded):
            synthesizer.detect_watermark(b"no audio")
        decoding.go.set()
        assert all(len(one.result()) == 3 for one in heard)
    with pytest.raises(UndecodableAudio):
        synthesizer.detect_watermark(b"no audio")


def test_the_embedded_model_hears_little_of_what_it_said_before():
    assert history_seconds(speech_settings()) == DEMO_HISTORY_SECONDS < HISTORY_SECONDS
    assert history_seconds(speech_settings(model="sesame/csm-1b")) == HISTORY_SECONDS
