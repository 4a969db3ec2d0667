"""`python -m benchmarks.encoders`: compare two ways to encode a stream of speech.

One is what the server does: FFmpeg's libraries in its own process, by PyAV. The other is an ffmpeg process for each
stream. Both use the same codecs with the same options, and get chunks of the sizes that the server generates.
"""

import resource
import select
import subprocess
import time
from statistics import median

from csm.audio.condition import condition
from csm.audio.decode import decode, ffmpeg_path
from csm.audio.encoders import FORMATS, Format, make_encoder
from csm.audio.encoders.compressed import CODECS
from csm.audio.encoders.pcm import pcm16
from examples.demo import REFERENCE

RATE = 24_000
FIRST_CHUNKS = (1800, 1920, 3840, 7680)
"""Samples in the first chunks of a stream; later ones have twice as many as the last of these."""
ROUNDS = 15
WAIT = 0.5
"""Seconds that an ffmpeg process has to start and to answer to a chunk, before the next one is sent."""


def main() -> None:
    """Print a table with medians of all rounds."""
    chunks = _chunks()
    seconds = sum(map(len, chunks)) / 2 / RATE
    print("| format | encoder | to the first byte | chunks until then | CPU per second of audio | bit rate |")
    print("|---|---|---|---|---|---|")
    for form in FORMATS.values():
        ways = {"in the server": in_process} | ({"ffmpeg process": in_subprocess} if form.name in CODECS else {})
        rounds: dict[str, list[tuple[float, int, int, float]]] = {name: [] for name in ways}
        for _ in range(ROUNDS):  # alternately, so that both have the same conditions
            for name, way in ways.items():
                before = _cpu_seconds()
                rounds[name].append((*way(form, chunks), _cpu_seconds() - before))
        for name, measured in rounds.items():
            first, count, size, cpu = (median(column) for column in zip(*measured, strict=True))
            print(
                f"| {form.name} | {name} | {first * 1e3:.2f} ms | {count:.0f} | {cpu / seconds * 1e3:.1f} ms "
                f"| {size * 8 / seconds / 1e3:.0f} kbit/s |"
            )


def in_process(form: Format, chunks: list[bytes]) -> tuple[float, int, int]:
    """Return the seconds until the first output, the number of chunks that it took, and the bytes of all output."""
    began, first, count, size = time.perf_counter(), 0.0, 0, 0
    encoder = make_encoder(form, RATE)
    for number, chunk in enumerate(chunks, 1):
        size += len(encoder.encode(chunk))
        if size and not count:
            first, count = time.perf_counter() - began, number
    size += len(encoder.finish())
    encoder.close()
    return first, count, size


def in_subprocess(form: Format, chunks: list[bytes]) -> tuple[float, int, int]:
    """Return the same for an ffmpeg process; waiting for output that does not come is not counted as time."""
    codec = CODECS[form.name]
    options = {**codec.options, **codec.muxing, **codec.streaming, "flush_packets": "1", "f": codec.container}
    options |= {} if codec.bit_rate is None else {"b:a": str(codec.bit_rate)}
    source = ["-probesize", "32", "-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "pipe:0"]
    target = ["-c:a", codec.name, *(word for name, value in options.items() for word in (f"-{name}", value)), "pipe:1"]
    began, count = time.perf_counter(), 0
    command = [ffmpeg_path(), "-v", "quiet", *source, *target]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None
        for chunk in chunks:
            process.stdin.write(chunk)
            count += 1
            if select.select([process.stdout], [], [], WAIT)[0]:
                break
            began += WAIT
        first = time.perf_counter() - began
        rest, _ = process.communicate(b"".join(chunks[count:]))
    return first, count, len(rest)


def _chunks() -> list[bytes]:
    pcm = pcm16(condition(decode(REFERENCE.read_bytes(), 60.0), 30.0).samples)
    chunks, at = [], 0
    for size in (*FIRST_CHUNKS, *[2 * FIRST_CHUNKS[-1]] * (len(pcm) // 2 // FIRST_CHUNKS[-1])):
        chunks.append(pcm[at : at + 2 * size])
        at += 2 * size
    return [chunk for chunk in chunks if chunk]


def _cpu_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
