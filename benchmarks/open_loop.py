"""An open-loop load test: requests arrive at random and do not wait for earlier answers.

Arrival times are drawn beforehand (a Poisson process), and all times are measured from when a request was due. In a
closed loop, a client sends its next request after the last answer, so it sends less while the server is slow, and the
longest waits are missing from the results (Tene's "coordinated omission").
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.playback import Answer, is_clean, summary
from benchmarks.streams import voice
from csm.engine.api import Engine, Sampling
from csm.speech.voice import conversation

AUDIBLE = 0.01
"""Amplitude, relative to full scale (-40 dB), below which a listener hears silence."""

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
REPEATED_VOICES, NEW_VOICE_SHARE = 4, 0.2


class RefusedError(Exception):
    """The server refused the request because it is at capacity."""


@dataclass(frozen=True)
class Order:
    """One request.

    Attributes:
        due: seconds after the start of the run.
        text: what to say.
        voice: number of the voice; voices from `REPEATED_VOICES` on occur once.
    """

    due: float
    text: str
    voice: int


Send = Callable[[], Iterator[NDArray[np.float32]]]
"""Sends a prepared request and yields the samples of its answer as they arrive. Raises `RefusedError`."""

Client = Callable[[Order], Send]
"""Prepares a request, so that sending it takes no extra time."""


@dataclass(frozen=True)
class Sweep:
    """Rates to try, one after the other.

    Attributes:
        rates: requests a second, ascending.
        seconds: duration of the arrivals at each rate.
        buffer: seconds of audio that a player buffers before it starts.
        until: seconds from the start; a rate that might not end by then is not tried.
        seed: of arrivals, texts and voices.
    """

    rates: tuple[float, ...]
    seconds: float
    buffer: float = 0.2
    until: float = float("inf")
    seed: int = 0


def orders(rate: float, seconds: float, seed: int) -> list[Order]:
    """Draw the requests of one run."""
    chance = random.Random(f"{seed} {rate}")
    drawn, due, newest = [], chance.expovariate(rate), REPEATED_VOICES + 1000 * seed
    while due < seconds:
        is_new = chance.random() < NEW_VOICE_SHARE
        newest += is_new
        drawn.append(Order(due, chance.choice(TEXTS), newest if is_new else chance.randrange(REPEATED_VOICES)))
        due += chance.expovariate(rate)
    return drawn


def offer(client: Client, requests: Sequence[Order], sample_rate: int) -> list[Answer]:
    """Send each request when it is due, without waiting for earlier ones; return when all have ended."""
    sends, answers = [client(order) for order in requests], [Answer() for _ in requests]
    began, threads = monotonic(), []
    for order, send, answer in zip(requests, sends, answers, strict=True):
        due = began + order.due
        sleep(max(0.0, due - monotonic()))
        threads.append(threading.Thread(target=_hear, args=(send, answer, due, sample_rate), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return answers


def _hear(send: Send, answer: Answer, due: float, sample_rate: int) -> None:
    answer.late = monotonic() - due
    silent = 0
    try:
        for samples in send():
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


def sweep(client: Client, plan: Sweep, sample_rate: int) -> Iterator[dict[str, Any]]:
    """Try increasing rates and yield a row for each; stop after a rate at which a request did not play cleanly."""
    began = monotonic()
    for rate in plan.rates:
        if monotonic() - began + 2 * plan.seconds > plan.until:
            return
        answers = offer(client, orders(rate, plan.seconds, plan.seed), sample_rate)
        row = {"rate": rate} | summary(answers, plan.buffer)
        yield row
        if row["requests"] and not is_clean(row):
            return


def engine_client(engine: Engine, seconds: float = 5.0) -> Client:
    """Return a client that uses an engine directly, without HTTP.

    The length of an answer is estimated from its text, because a model with random weights does not end by itself.
    """

    def prepare(order: Order) -> Send:
        never: Callable[[], bool] = lambda: False  # noqa: E731
        frames = 4 + round(len(order.text) / 14 * engine.info.frame_rate)
        said = conversation(voice(order.voice, seconds, engine.info.sample_rate), order.text)

        def send() -> Iterator[NDArray[np.float32]]:
            for chunk in engine.generate(said, Sampling(order.voice), frames, never):
                yield chunk.samples

        return send

    return prepare
