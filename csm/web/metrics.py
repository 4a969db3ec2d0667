"""Metrics for Prometheus. Where vLLM-Omni or vLLM has such a metric, ours has its name, with `csm_` in front.

No label has a value that a client chooses: that would let clients create any number of time series.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import csm
from csm.engine import stats
from csm.speech import Synthesizer
from csm.web.access_log import Access

FIRST_AUDIO_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 120)
LATENCY_BUCKETS = (0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
AUDIO_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
FINISHED_REASONS = ("stop", "length", "silence", "repeat", "abort")
GAP_BUCKETS = (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one application.

    Args:
        synthesizer: the synthesizer whose state and statistics are read whenever the metrics are.

    Attributes:
        registry: the registry that Prometheus' client library writes out.
    """

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(SynthesizerCollector(synthesizer))
        self._requests = Counter(
            "csm_requests",
            "Requests by route, status and outcome: ok, refused, failed, disconnected, slow or cut.",
            ["route", "status", "outcome"],
            registry=registry,
        )
        self._finished = Counter(
            "csm_requests_success",
            "Requests that got audio, by how it ended: stop, length, silence, repeat, or abort if it was cut off.",
            ["finished_reason"],
            registry=registry,
        )
        for reason in FINISHED_REASONS:
            # From zero on, because Prometheus does not see an increase in the first value of a series.
            self._finished.labels(reason)
        # The detector's codes are a fixed list of about a hundred.
        self._languages = Counter(
            "csm_text_language",
            "Texts by the language that was detected (ISO 639; und: unknown). CSM speaks English only.",
            ["language"],
            registry=registry,
        )
        self._retries = Counter("csm_segment_retries", "Segments that were generated again.", registry=registry)
        self._first_audio = Histogram(
            "csm_audio_ttfp_s",
            "Seconds from a request's header to the first audio, of streamed answers.",
            buckets=FIRST_AUDIO_BUCKETS,
            registry=registry,
        )
        self._latency = Histogram(
            "csm_e2e_request_latency_s",
            "Seconds from a request's header to the last byte of its answer, of requests that got audio.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._audio = Histogram(
            "csm_audio_duration_s", "Seconds of audio in each answer.", buckets=AUDIO_BUCKETS, registry=registry
        )
        self._gaps = Histogram(
            "csm_audio_underrun_s",
            "Seconds during which a player of a streamed answer would have had nothing to play.",
            buckets=GAP_BUCKETS,
            registry=registry,
        )
        self._continuous = Counter(
            "csm_audio_continuity_ok",
            "Streamed answers without an audible gap; csm_audio_underrun_s counts all.",
            registry=registry,
        )

    def observe(self, entry: Access, status: int) -> None:
        """Count a request that has been answered."""
        self._requests.labels(entry.route, str(status), entry.outcome).inc()
        if (player := entry.player) is not None:
            self._gaps.observe(sum(player.gaps))
            self._continuous.inc(player.is_continuous)
        noted = entry.noted
        if "first_audio" in noted:
            self._first_audio.observe(noted["first_audio"])
        if "segments" not in noted:
            # No audio: another route, or a request that was refused or failed before its first audio.
            return
        self._finished.labels(noted.get("finish") or "abort").inc()
        self._languages.labels(noted.get("language") or "und").inc()
        self._retries.inc(noted.get("retries", 0))
        self._audio.observe(noted.get("audio", 0.0))
        self._latency.observe(entry.seconds)


class SynthesizerCollector(Collector):
    """Reads state and statistics of a synthesizer each time the metrics are read.

    Args:
        synthesizer: the synthesizer to read.
    """

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer

    def collect(self) -> Iterator[Metric]:
        """Yield its metrics; those of the engine only once the model is loaded."""
        status = self._synthesizer.status()
        about = {"version": csm.__version__, "model": status.model, "device": status.device or ""}
        yield InfoMetricFamily("csm_server", "What is running.", about)
        yield GaugeMetricFamily("csm_ready", "1 if /health/ready answers 200, else 0.", status.state == "healthy")
        yield GaugeMetricFamily("csm_num_requests_running", "Generations that hold a slot.", status.running)
        yield GaugeMetricFamily("csm_num_requests_waiting", "Requests admitted, but without a slot.", status.waiting)
        engine = self._synthesizer.stats()
        if engine is not None:
            yield from _of_engine(engine)


def _of_engine(engine: stats.EngineStats) -> Iterator[Metric]:
    yield _histogram(
        "csm_request_queue_time_seconds", "Seconds that each segment waited for a slot.", engine.queue_seconds
    )
    yield _histogram(
        "csm_audio_rtf",
        "Real-time factor of each segment: seconds of generation for a second of audio.",
        engine.real_time_factor,
    )
    yield _histogram("csm_step_s", "Seconds for a step: one frame (0.08 s) for every slot.", engine.step_seconds)
    yield _histogram("csm_step_batch_size", "Generations that got a frame in a step.", engine.batch_size)
    yield CounterMetricFamily("csm_audio_frames", "Frames generated, of 0.08 s each.", engine.batch_size.sum)
    yield _histogram("csm_codec_decode_s", "Seconds to decode a batch of chunks to audio.", engine.decode_seconds)
    yield _histogram("csm_codec_encode_s", "Seconds to encode the reference audio of a voice.", engine.encode_seconds)
    yield CounterMetricFamily("csm_prefill_positions", "Positions of prompts prefilled.", engine.prefilled_positions)
    yield CounterMetricFamily(
        "csm_prefix_cache_queries", "Look-ups of voices in the cache, one for each segment.", engine.voice_queries
    )
    yield CounterMetricFamily(
        "csm_prefix_cache_hits", "Look-ups that found the keys and values of the voice.", engine.voice_hits
    )
    yield GaugeMetricFamily("csm_kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", engine.kv_usage)
    if (memory := engine.device_memory) is not None:
        yield GaugeMetricFamily("csm_gpu_memory_allocated_bytes", "GPU memory of tensors.", memory.allocated)
        yield GaugeMetricFamily("csm_gpu_memory_used_bytes", "GPU memory in use by all processes.", memory.used)
        yield GaugeMetricFamily("csm_gpu_memory_total_bytes", "GPU memory of the device.", memory.total)


def _histogram(name: str, documentation: str, histogram: stats.Histogram) -> HistogramMetricFamily:
    # Copied once, since the engine goes on counting.
    cumulative = [*accumulate(tuple(histogram.counts))]
    buckets = zip([*map(str, map(float, histogram.bounds)), "+Inf"], cumulative, strict=True)
    return HistogramMetricFamily(name, documentation, [*buckets], histogram.sum)
