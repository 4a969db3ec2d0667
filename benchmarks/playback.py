"""Simulate the playback of streamed answers: when audio starts, and where it is interrupted."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from csm.audio.continuity import SimulatedPlayer


@dataclass
class Answer:
    """The outcome of one request; times are in seconds from when it was due.

    Attributes:
        late: delay of sending it.
        pieces: arrival time and duration of each piece of audio.
        first_audible: seconds of silence before the first audible sample, or None if all is silent.
        outcome: `played`, `refused`, or why it failed.
    """

    late: float = 0.0
    pieces: list[tuple[float, float]] = field(default_factory=list)
    first_audible: float | None = None
    outcome: str = "played"


@dataclass(frozen=True)
class Playback:
    """The simulated playback of one answer.

    Attributes:
        audible: seconds from the request to the first audible sample, as played.
        gaps: duration of each underrun, in seconds: the buffer was empty before the answer ended.
    """

    audible: float | None
    gaps: tuple[float, ...]


def play(answer: Answer, buffer: float) -> Playback:
    """Simulate playback of an answer whose pieces arrived as recorded.

    The player starts when it has buffered `buffer` seconds or the whole answer.
    """
    times = iter([came for came, _ in answer.pieces])
    player, audible = SimulatedPlayer(buffer, clock=lambda: next(times)), None
    silent = float("inf") if answer.first_audible is None else answer.first_audible
    for _, seconds in answer.pieces:
        player.receive(seconds)
        if audible is None and player.ends is not None and silent < player.seconds:
            audible = player.ends - (player.seconds - silent)
    if player.ends is None and silent < player.seconds:
        audible = answer.pieces[-1][0] + silent
    return Playback(audible, tuple(player.gaps))


def summary(answers: Sequence[Answer], buffer: float) -> dict[str, Any]:
    """Summarise the playback of all answers of one run."""
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
    """Return whether all requests were served and played without a gap."""
    return bool(row["requests"] and row["played"] == row["requests"] and not row["underruns"])


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99; empty if there are no values."""
    if not values:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return {f"p{part}": cuts[part - 1] for part in (50, 95, 99)}


def arrivals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table from those of `sweep`."""
    return [
        {
            "requests/s": row["rate"],
            "requests": row["requests"],
            "refused": row["refused"],
            "failed": row["failed"],
            "interrupted": row["interrupted"],
            "underruns": row["underruns"],
            "longest gap, s": row["longest_gap_s"],
        }
        | {f"audible {part}, s": row["audible_s"].get(part, "") for part in ("p50", "p95", "p99")}
        for row in rows
    ]
