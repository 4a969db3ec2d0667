"""What an engine counts and measures while it runs: plain numbers, for whoever reports them."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

# Upper bounds of the buckets.
QUEUE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
# Streams keep up with playback as long as a step takes less than a frame lasts, 0.08 s.
STEP_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.4, 0.8, 1.6)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REAL_TIME_FACTORS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.25, 1.5, 2, 3, 5, 10)
CODEC_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12)


class Histogram:
    """Counts of observed values in buckets. One thread may observe while others read.

    Args:
        bounds: upper bounds of the buckets, inclusive and ascending.

    Attributes:
        counts: of each bucket, and of the values above the last bound.
        sum: of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a GPU, in bytes.

    Attributes:
        allocated: by tensors of this process.
        used: by all processes, caches and contexts included.
        total: of the device.
    """

    allocated: int
    used: int
    total: int


@dataclass
class EngineStats:
    """The statistics of one engine since its start. Durations are in seconds.

    A generation is one segment of a text, so a request has at least one.

    Attributes:
        queue_seconds: from the arrival of a generation until it gets a slot.
        real_time_factor: of each generation, from its first frame on: time to generate the frames, divided by the
            duration of their audio.
        step_seconds: of each step: a frame for every slot, and perhaps a chunk of a prompt.
        batch_size: generations that got a frame in each step.
        decode_seconds: of each batch of chunks that the codec decoded.
        encode_seconds: of each reference audio that the codec encoded.
        prefilled_positions: positions of prompts that were prefilled.
        voice_queries: look-ups in the cache of voices, one for each generation.
        voice_hits: look-ups that found the keys and values of the voice.
        kv_usage: share of the KV cache that holds positions of running generations, 0 to 1.
        device_memory: None if the device is not a GPU.
    """

    queue_seconds: Histogram = field(default_factory=partial(Histogram, QUEUE_SECONDS))
    real_time_factor: Histogram = field(default_factory=partial(Histogram, REAL_TIME_FACTORS))
    step_seconds: Histogram = field(default_factory=partial(Histogram, STEP_SECONDS))
    batch_size: Histogram = field(default_factory=partial(Histogram, BATCH_SIZES))
    decode_seconds: Histogram = field(default_factory=partial(Histogram, CODEC_SECONDS))
    encode_seconds: Histogram = field(default_factory=partial(Histogram, CODEC_SECONDS))
    prefilled_positions: int = 0
    voice_queries: int = 0
    voice_hits: int = 0
    kv_usage: float = 0.0
    device_memory: DeviceMemory | None = None
