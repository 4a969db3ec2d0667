"""Small files that stand for hours of sound or gigabytes of samples."""

from tests.corpus.case import ANY, REFUSED, UNUSABLE, Case
from tests.corpus.ffmpeg import encode

_OPUS = ("-c:a", "libopus", "-b:a", "6k", "-dtx", "1", "-frame_duration", "60", "-application", "voip")


def bombs() -> list[Case]:
    """Each is below 1 MB."""
    hour = _source("anullsrc=r=8000:cl=mono:d=3600")
    minutes = encode(*_source("anullsrc=r=48000:cl=mono:d=300"), *_OPUS, suffix=".mka")
    channels = _source("anullsrc=r=192000:cl=7.1:d=40")
    noise = _source("anoisesrc=r=48000:d=100:a=0.5")
    return [
        Case("bomb-flac-hour", encode(*hour, suffix=".flac"), "voice.flac", UNUSABLE),
        Case("bomb-flac-8-channels", encode(*channels, suffix=".flac"), "voice.flac", UNUSABLE),
        Case("bomb-opus-minutes", minutes, "voice.webm", UNUSABLE),
        Case("bomb-opus-noise", encode(*noise, *_OPUS, suffix=".webm"), "voice.webm", ANY),
        Case("bomb-still-time", _still(minutes), "voice.webm", REFUSED),
    ]


def _still(recording: bytes) -> bytes:
    """All packets claim to start at zero, so that a limit in seconds is never reached."""
    return encode("-c", "copy", "-bsf:a", "setts=ts=0", suffix=".mka", source=recording)


def _source(graph: str) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", graph)
