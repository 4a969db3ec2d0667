"""Draw recordings, to compare speech with the reference audio whose voice it imitates."""

from collections.abc import Mapping
from pathlib import Path

from csm.audio.waveform import Waveform

MAX_HZ = 8000
"""Upper edge of the spectrograms; there is little of a voice above it."""
MIN_DB, MAX_DB = -90, -20
"""Ends of the colour scale: speech of usual loudness, and the noise of a quiet room."""


class PlotError(Exception):
    """Nothing can be drawn here; the message says what to do."""


def check() -> None:
    """Check that matplotlib, which is no requirement of the server, is installed.

    Raises:
        PlotError: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotError("--plot needs matplotlib: pip install matplotlib") from None


def draw(recordings: Mapping[str, Waveform], path: Path) -> None:
    """Draw the waveform and the spectrogram of each recording, all on the same scales, into an image file.

    Args:
        recordings: by title.
        path: of the image; its suffix chooses the format.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2 * len(recordings)), layout="constrained")
    longest = max(recording.seconds for recording in recordings.values())
    rows = figure.subplots(2 * len(recordings), 1, squeeze=False, height_ratios=[1, 3] * len(recordings))[:, 0]
    for index, (title, recording) in enumerate(recordings.items()):
        wave, spectrum = rows[2 * index], rows[2 * index + 1]
        seconds = [at / recording.sample_rate for at in range(len(recording.samples))]
        wave.plot(seconds, recording.samples, linewidth=0.4)
        wave.set(title=title, xlim=(0, longest), ylim=(-1, 1), xticks=[], ylabel="level")
        # Windows of 43 ms at 24 kHz show the harmonics of a voice.
        spectrum.specgram(
            recording.samples, NFFT=1024, noverlap=768, Fs=recording.sample_rate, scale="dB", mode="magnitude",
            vmin=MIN_DB, vmax=MAX_DB, cmap="magma",
        )  # fmt: skip
        spectrum.set(xlim=(0, longest), ylim=(0, MAX_HZ), xlabel="seconds", ylabel="Hz")
    figure.savefig(path, dpi=120)
