"""Requests that arrive by chance and wait for nobody, and what each of their listeners hears.

The loop is open: arrivals are drawn beforehand (a Poisson process), and every time is counted from when a request was
due. A closed loop, in which a caller sends its next request once the last was answered, sends less while the server is
slow, and so leaves out of its figures those who would have waited longest (Tene's "coordinated omission").
"""

import random
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import voice
from csm.engine.api import Engine, Sampling
from csm.speech.voice import conversation

AUDIBLE = 0.01
"""Of full scale: -40 dB, below which a listener takes speech for silence."""

TEXTS = (
    "Yes.",
    "Good morning, how can I help you?",
    "Your parcel was delivered this afternoon.",
    "I have moved your appointment to Thursday at half past nine.",
    "Please hold the line while I look that up for you.",
    "The next train to the coast leaves from platform four in twenty minutes.",
    "It rained for most of the night. By morning the river had reached the bridge, and the road was closed.",
    "Thank you for calling. If you have any further questions, send us a message and we will answer within a day.",
)
RETURNING_VOICES, NEW_VOICE_SHARE = 4, 0.2


class RefusedError(Exception):
    """The server had no room, and said so."""


@dataclass(frozen=True)
class Order:
    """One request.

    Attributes:
        due: seconds after the start of the run.
        text: to be said.
        voice: number of the reference; those from `RETURNING_VOICES` on occur once.
    """

    due: float
    text: str
    voice: int


Listen = Callable[[Order], Iterator[NDArray[np.float32]]]
"""Send a request now; yields the samples of its answer as they arrive, and raises `RefusedError`."""


@dataclass
class Answer:
    """What became of one request; times in seconds from when it was due.

    Attributes:
        order: the request.
        late: how much too late it was sent.
        pieces: when each piece of sound came, and its seconds.
        first_audible: seconds of silence before the first audible sample, or None where all is silent.
        outcome: `played`, `refused`, or why it failed.
    """

    order: Order
    late: float = 0.0
    pieces: list[tuple[float, float]] = field(default_factory=list)
    first_audible: float | None = None
    outcome: str = "played"


@dataclass(frozen=True)
class Playback:
    """What a player that had this answer did.

    Attributes:
        audible: seconds from the request to the first audible sample, as played.
        gaps: seconds of each underrun: the player had played all it held and the answer was not over.
    """

    audible: float | None
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class Sweep:
    """Rates to try, one after the other.

    Attributes:
        rates: requests a second, ascending.
        seconds: of arrivals at each rate.
        buffer: seconds of sound that a player holds before it begins.
        until: no rate begins that could not end within so many seconds from the start.
        seed: of arrivals, texts and voices.
    """

    rates: tuple[float, ...]
    seconds: float
    buffer: float = 0.0
    until: float = float("inf")
    seed: int = 0


def orders(rate: float, seconds: float, seed: int) -> list[Order]:
    """Draw the requests of one run."""
    chance = random.Random(f"{seed} {rate}")
    drawn, due, newest = [], chance.expovariate(rate), RETURNING_VOICES + 1000 * seed
    while due < seconds:
        is_new = chance.random() < NEW_VOICE_SHARE
        newest += is_new
        drawn.append(Order(due, chance.choice(TEXTS), newest if is_new else chance.randrange(RETURNING_VOICES)))
        due += chance.expovariate(rate)
    return drawn


def offer(listen: Listen, requests: Sequence[Order], sample_rate: int) -> list[Answer]:
    """Send every request when it is due, whatever became of those before; return once all are over."""
    answers = [Answer(order) for order in requests]
    began = monotonic()
    threads = [
        threading.Thread(target=_hear, args=(listen, answer, began + answer.order.due, sample_rate), daemon=True)
        for answer in answers
    ]
    for answer, thread in zip(answers, threads, strict=True):
        sleep(max(0.0, began + answer.order.due - monotonic()))
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _hear(listen: Listen, answer: Answer, due: float, sample_rate: int) -> None:
    answer.late = monotonic() - due
    silent = 0
    try:
        for samples in listen(answer.order):
            answer.pieces.append((monotonic() - due, len(samples) / sample_rate))
            if answer.first_audible is None:
                loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
                answer.first_audible = (silent + int(loud[0])) / sample_rate if len(loud) else None
                silent += len(samples)
    except RefusedError:
        answer.outcome = "refused"
    except Exception as error:
        answer.outcome = f"{type(error).__name__}: {error}"
    else:
        answer.outcome = "played" if answer.pieces else "no sound came"


def play(answer: Answer, buffer: float) -> Playback:
    """Play an answer as its pieces came.

    The player begins once it holds `buffer` seconds or the answer is over, and goes on as soon as a piece comes after
    it had run dry.
    """
    held, begin = 0.0, answer.pieces[-1][0]
    for came, seconds in answer.pieces:
        held += seconds
        if held >= buffer:
            begin = came
            break
    clock, position, gaps, audible = begin, 0.0, [], None
    for came, seconds in answer.pieces:
        if came > clock:
            gaps.append(came - clock)
            clock = came
        if answer.first_audible is not None and position <= answer.first_audible < position + seconds:
            audible = clock + answer.first_audible - position
        clock, position = clock + seconds, position + seconds
    return Playback(audible, tuple(gaps))


def summary(answers: Sequence[Answer], buffer: float) -> dict[str, Any]:
    """What the listeners of one run went through."""
    heard = [answer for answer in answers if answer.outcome == "played"]
    playbacks = [play(answer, buffer) for answer in heard]
    refused = sum(answer.outcome == "refused" for answer in answers)
    gaps = [playback.gaps for playback in playbacks]
    failures = sorted({a.outcome for a in answers} - {"played", "refused"})
    return {
        "requests": len(answers),
        "played": len(heard),
        "refused": refused,
        "failed": len(answers) - len(heard) - refused,
        "failures": failures[:3],
        "silent": sum(playback.audible is None for playback in playbacks),
        "audible_s": percentiles([p.audible for p in playbacks if p.audible is not None]),
        "first_sample_s": percentiles([answer.pieces[0][0] for answer in heard]),
        "interrupted": sum(map(bool, gaps)),
        "underruns": sum(map(len, gaps)),
        "longest_gap_s": max((gap for each in gaps for gap in each), default=0.0),
        "seconds_of_sound": sum(seconds for answer in heard for _, seconds in answer.pieces),
        "latest_sent_s": max((answer.late for answer in answers), default=0.0),
    }


def is_clean(row: dict[str, Any]) -> bool:
    """Whether everybody was served and heard everything without a gap."""
    return bool(row["requests"] and row["played"] == row["requests"] and not row["underruns"])


def sweep(listen: Listen, plan: Sweep, sample_rate: int) -> Iterator[dict[str, Any]]:
    """Try growing rates; the last row is the first at which somebody was refused, failed or interrupted."""
    began = monotonic()
    for rate in plan.rates:
        if monotonic() - began + 2 * plan.seconds > plan.until:
            return
        answers = offer(listen, orders(rate, plan.seconds, plan.seed), sample_rate)
        row = {"rate": rate} | summary(answers, plan.buffer)
        yield row
        if row["requests"] and not is_clean(row):
            return


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99; empty where there are no values."""
    if not values:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return {f"p{part}": cuts[part - 1] for part in (50, 95, 99)}


def engine_listener(engine: Engine, seconds: float = 5.0) -> Listen:
    """Ask an engine without HTTP; texts last as long as they would be spoken, because random weights never end."""

    def listen(order: Order) -> Iterator[NDArray[np.float32]]:
        never: Callable[[], bool] = lambda: False  # noqa: E731
        frames = 4 + round(len(order.text) / 14 * engine.info.frame_rate)
        said = conversation(voice(order.voice, seconds, engine.info.sample_rate), order.text)
        for chunk in engine.generate(said, Sampling(order.voice), frames, never):
            yield chunk.samples

    return listen
