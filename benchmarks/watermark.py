"""`python -m benchmarks.watermark FILE...`: measure the watermark on recordings, or on what the demo model says.

Three tables are printed: how much the mark changes the signal, whether it is found after changes that recordings
undergo, and what marking costs. Every recording is marked in chunks of the sizes that the server generates.
"""

import argparse
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np

import csm
from benchmarks.report import hardware
from csm.audio.condition import condition
from csm.audio.decode import decode, ffmpeg_path
from csm.audio.encoders.pcm import pcm16
from csm.audio.watermark.detect import THRESHOLD, detect
from csm.audio.watermark.marker import Marker
from csm.audio.watermark.perth import SAMPLE_RATE, Perth
from csm.audio.waveform import Samples, Waveform
from examples.demo import REFERENCE, TRANSCRIPT

FIRST_CHUNKS = (1800, 1920, 3840, 7680)
"""Samples in the first chunks of a stream; later ones have twice as many as the last of these."""

SENTENCES = (
    "Hello! This voice was cloned from one short sample.",
    "The rainbow is a division of white light into many beautiful colours.",
    "Please call Stella, and ask her to bring these things with her from the store.",
)
STREAMS, ROUNDS = 16, 20

Attack = Callable[[Samples], Waveform]


def transcoded(container: str, *options: str) -> Attack:
    """Return an attack that encodes with ffmpeg and decodes again."""

    def attack(samples: Samples) -> Waveform:
        source = ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "-"]
        command = [ffmpeg_path(), "-v", "error", *source, *options, "-f", container, "-"]
        made = subprocess.run(command, input=pcm16(samples), capture_output=True, check=True).stdout
        return decode(made, 300.0)

    return attack


def cropped(samples: Samples) -> Waveform:
    """Remove the first and the last tenth."""
    tenth = len(samples) // 10
    return Waveform(samples[tenth:-tenth], SAMPLE_RATE)


def noisy(decibels: float) -> Attack:
    """Return an attack that adds white noise at a signal-to-noise ratio."""

    def attack(samples: Samples) -> Waveform:
        noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
        level = np.sqrt(np.square(samples).mean()) * np.float32(10 ** (-decibels / 20))
        return Waveform(samples + level * noise, SAMPLE_RATE)

    return attack


ATTACKS: Mapping[str, Attack] = {
    "none": lambda samples: Waveform(samples, SAMPLE_RATE),
    "MP3, 128 kbit/s": transcoded("mp3", "-b:a", "128k"),
    "MP3, 64 kbit/s": transcoded("mp3", "-b:a", "64k"),
    "Opus, 24 kbit/s": transcoded("ogg", "-c:a", "libopus", "-b:a", "24k"),
    "resampled to 16 kHz": transcoded("wav", "-ar", "16000"),
    "20 % cut off": cropped,
    "white noise, 30 dB below the speech": noisy(30),
    "white noise, 20 dB below the speech": noisy(20),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark", description=__doc__)
    parser.add_argument(
        "recordings", nargs="*", type=Path, help="in any format; the demo model is used if there are none"
    )
    files = parser.parse_args().recordings
    perth, clips = Perth.load(), [_clip(file) for file in files] or _spoken()
    marked = [mark(clip, perth) for clip in clips]
    ratios = [snr(clip, copy) for clip, copy in zip(clips, marked, strict=True)]
    print(f"{len(clips)} recordings, {sum(map(len, clips)) / SAMPLE_RATE:.0f} s; {hardware()}\n")
    print(f"Signal to change: {median(ratios):.1f} dB (median), {min(ratios):.1f} to {max(ratios):.1f} dB\n")
    print(
        "| what was done to the recording | marked: found | lowest confidence | unmarked: found | highest confidence |"
    )
    print("|---|---|---|---|---|")
    for name, attack in ATTACKS.items():
        true, false = ([detect(attack(clip), perth) for clip in group] for group in (marked, clips))
        hits, alarms = (sum(confidence >= THRESHOLD for confidence in group) for group in (true, false))
        print(f"| {name} | {hits} of {len(true)} | {min(true):.3f} | {alarms} of {len(false)} | {max(false):.3f} |")
    print("\n| chunk | processor time | per second of audio |\n|---|---|---|")
    for size in sorted({*FIRST_CHUNKS, 2 * FIRST_CHUNKS[-1]}):
        seconds = _cost(perth, size)
        print(f"| {size * 1000 / SAMPLE_RATE:.0f} ms | {seconds * 1e3:.1f} ms | {seconds * SAMPLE_RATE / size:.3f} s |")
    print(f"\n{STREAMS} streams at once, chunks of 640 ms: {_cost_of_streams(perth):.2f} s for a second of each")


def mark(samples: Samples, perth: Perth) -> Samples:
    """Return a recording with the mark, in chunks of the sizes that the server generates."""
    ends = np.cumsum([*FIRST_CHUNKS, *[2 * FIRST_CHUNKS[-1]] * (len(samples) // FIRST_CHUNKS[-1])])
    marker = Marker(perth)
    return np.concatenate([marker.process(chunk) for chunk in np.split(samples, ends[ends < len(samples)])])


def snr(samples: Samples, copy: Samples) -> float:
    """Return the ratio of a signal to the change in a copy, in dB."""
    return 10 * float(np.log10(np.square(samples).sum() / np.square(copy - samples).sum()))


def _clip(file: Path) -> Samples:
    return condition(decode(file.read_bytes(), 60.0), 30.0).samples


def _spoken() -> list[Samples]:
    with csm.load("demo", watermark=False) as model:
        return [model.say(text, REFERENCE, TRANSCRIPT.read_text(), seed=1).samples for text in SENTENCES]


def _cost(perth: Perth, size: int) -> float:
    """Return the processor time of marking one chunk, in seconds: the median of many."""
    marker, noise = Marker(perth), np.random.default_rng(0).standard_normal(size).astype(np.float32)
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        marker.process(noise)
        times.append(time.thread_time() - began)
    return median(times)


def _cost_of_streams(perth: Perth) -> float:
    """Return the processor time in which a thread for each of `STREAMS` streams marks a second of its audio."""
    size, rounds = 2 * FIRST_CHUNKS[-1], 5
    noise = np.random.default_rng(0).standard_normal(size).astype(np.float32)

    def stream() -> None:
        marker = Marker(perth)
        for _ in range(rounds):
            marker.process(noise)

    threads = [threading.Thread(target=stream) for _ in range(STREAMS)]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - began) * SAMPLE_RATE / (size * rounds)


if __name__ == "__main__":
    main()
