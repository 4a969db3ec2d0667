"""The CPU runtime against eager PyTorch, on tiny checkpoints compiled for real."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from csm import settings
from csm.audio.waveform import Waveform
from csm.engine.api import EngineInfo, Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.devices import Placement
from csm.engine.openvino.bundle import Bundle, folder_of, open_bundle
from csm.engine.openvino.prepare import DONE, prepare
from csm.engine.openvino.runtime import STRIDE, OpenVinoDecoder, OpenVinoKVCache, OpenVinoRuntime, past_mask
from csm.engine.prefix_cache import ConversationPrefix
from csm.engine.runtimes.base import BAD_CODE, Runtime
from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import Checkpoint, open_checkpoint
from csm.model.conversation import Conversation, Turn
from csm.model.mimi.decoder import MimiDecoder
from csm.speech.voice import Voice, conversation
from tests.tiny_checkpoints import save

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(save(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def bundle_of(checkpoint: Checkpoint, cache: Path, precision: str) -> Bundle:
    """Made here, not in a process of its own, to save the seconds of its start."""
    given = settings.load(None, cache_dir=cache)
    folder = folder_of(given, checkpoint, precision)
    if not folder.exists():
        prepare(checkpoint, precision, folder)
    return open_bundle(given, checkpoint, precision)


def speak(runtime: Runtime, samplings: list[Sampling], frames: int) -> torch.Tensor:
    """Codes `[frames, rows, codebooks]` of a prompt of random tokens, read in two pieces."""
    ids = torch.randint(0, 250, (40,), generator=torch.Generator().manual_seed(1))
    x = runtime.embeddings.embed_text(ids).float()
    runtime.prefill(x[:16], 0)
    runtime.prefill(x[16:-1], 16)
    for row, sampling in enumerate(samplings):
        runtime.join(row, len(x) - 1, x[-1], sampling)
    top_k = max(sampling.top_k for sampling in samplings)
    return torch.stack([runtime.step(len(samplings), len(x) + frame, top_k).clone() for frame in range(frames)])


GREEDY, COLD, WIDE = Sampling(0, temperature=0.0, top_k=1), Sampling(7, 0.9, 20), Sampling(8, 1.3, 64)


def test_float32_graphs_give_the_codes_of_eager_torch(checkpoint: Checkpoint, cache: Path) -> None:
    rows = [GREEDY, COLD, WIDE]
    theirs = speak(TorchRuntime(checkpoint, Placement(CPU, "float32"), 3), rows, 50)
    ours = speak(OpenVinoRuntime(bundle_of(checkpoint, cache, "float32"), 3), rows, 50)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.8), pytest.param("int4", 0.3, marks=pytest.mark.slow)])
def test_quantised_graphs_mostly_agree_on_the_first_frame(
    checkpoint: Checkpoint, cache: Path, precision: str, least: float
) -> None:
    """Later frames follow from other codes, so only the first can be compared; many seeds make it many draws."""
    rows = [Sampling(seed, 0.9, 20) for seed in range(24)]
    theirs = speak(TorchRuntime(checkpoint, Placement(CPU, "float32"), 24), rows, 1)
    ours = speak(OpenVinoRuntime(bundle_of(checkpoint, cache, precision), 24), rows, 1)
    assert (ours == theirs).float().mean() >= least


def test_a_row_draws_the_same_alone_and_beside_others(checkpoint: Checkpoint, cache: Path) -> None:
    bundle = bundle_of(checkpoint, cache, "int8")
    alone = speak(OpenVinoRuntime(bundle, 1), [COLD], 20)
    beside = speak(OpenVinoRuntime(bundle, 3), [COLD, GREEDY, WIDE], 20)
    assert torch.equal(alone[:, 0], beside[:, 0])


def test_a_nan_is_reported_for_its_row_only(checkpoint: Checkpoint, cache: Path) -> None:
    runtime = OpenVinoRuntime(bundle_of(checkpoint, cache, "float32"), 2)
    before = speak(runtime, [COLD, GREEDY], 5)
    runtime.join(1, 5, torch.full((runtime.embeddings.text.shape[1],), torch.nan), GREEDY)
    codes = runtime.step(2, 60, 20)
    assert (codes[1] == BAD_CODE).all()
    assert (codes[0] >= 0).all()
    assert torch.equal(speak(runtime, [COLD, GREEDY], 5), before)


def test_the_engine_generates_with_it_and_prefills_a_voice_once(checkpoint: Checkpoint, cache: Path) -> None:
    runtime = CountingRuntime(bundle_of(checkpoint, cache, "int8"), 2)
    info = EngineInfo("csm", "cpu", "int8", 2, 24_000, 12.5)
    samples = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    said = conversation(Voice(Waveform(samples, 24_000), "Words."), "Say this.")
    with closing(CsmEngine(runtime, info, checkpoint.tokenizer, voice_bytes=10_000_000)) as engine:
        first, second = ([chunk.samples for chunk in engine.generate(said, COLD, 9, lambda: False)] for _ in range(2))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))
    assert runtime.starts[0] == 0
    assert runtime.starts.count(0) == 1


def test_a_conversation_goes_on_from_the_keys_and_values_of_its_last_turn(checkpoint: Checkpoint, cache: Path) -> None:
    runtime = CountingRuntime(bundle_of(checkpoint, cache, "float32"), 2)
    info = EngineInfo("csm", "cpu", "float32", 2, 24_000, 12.5)
    samples = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    heard = Turn("0", "Words.", Waveform(samples, 24_000))
    with closing(CsmEngine(runtime, info, checkpoint.tokenizer, voice_bytes=10_000_000)) as engine:

        def say(text: str, said: tuple[Turn, ...], kept: ConversationPrefix | None) -> Turn:
            conversation = Conversation((heard, *said, Turn("0", text)), history=len(said))
            chunks = list(engine.generate(conversation, GREEDY, 9, lambda: False, cache=kept))
            return replace(conversation.target, audio=heard.audio, codes=np.concatenate([c.codes for c in chunks]))

        kept = ConversationPrefix()
        first = say("First.", (), kept)
        runtime.starts.clear()
        alone = say("Second.", (first,), None)
        again = runtime.starts[0]
        runtime.starts.clear()
        np.testing.assert_array_equal(say("Second.", (first,), kept).codes, alone.codes)
        assert runtime.starts[0] > again + 9


class CountingRuntime(OpenVinoRuntime):
    """Notes where each piece of a prompt begins, once it is set up."""

    def __init__(self, bundle: Bundle, rows: int) -> None:
        self.starts: list[int] = []
        super().__init__(bundle, rows)
        self.starts.clear()

    def prefill(self, x: torch.Tensor, start: int) -> None:
        self.starts.append(start)
        super().prefill(x, start)


def test_the_codec_graph_gives_the_audio_of_eager_torch(checkpoint: Checkpoint, cache: Path) -> None:
    ours = OpenVinoDecoder(bundle_of(checkpoint, cache, "int8"))
    theirs = MimiDecoder(checkpoint.load(torch.float32, CPU).codec_model)
    states = ours.initial_state(2), theirs.initial_state(2)
    codes = torch.randint(0, theirs.codebook_size, (2, theirs.codebooks, 140))
    for piece in codes.split([1, 2, 4, 8, 125], dim=-1):
        (mine, first), (reference, second) = ours(piece, states[0]), theirs(piece, states[1])
        states = first, second
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


def test_a_bundle_is_made_once(checkpoint: Checkpoint, cache: Path) -> None:
    bundle_of(checkpoint, cache, "int8")
    (folder,) = cache.glob("*-int8")
    made = (folder / DONE).stat().st_mtime_ns
    bundle_of(checkpoint, cache, "int8")
    assert (folder / DONE).stat().st_mtime_ns == made


def test_a_checkpoint_from_the_layer_of_an_image_is_the_same(checkpoint: Checkpoint, tmp_path: Path) -> None:
    given = settings.load(None, cache_dir=tmp_path)
    folder = folder_of(given, checkpoint, "int8")
    weights = next(checkpoint.folder.glob("*.safetensors"))
    seconds = int(weights.stat().st_mtime)
    os.utime(weights, (seconds, seconds))  # layers keep whole seconds
    assert folder_of(given, checkpoint, "int8") == folder
    os.utime(weights, (seconds + 1, seconds + 1))
    assert folder_of(given, checkpoint, "int8") != folder
    os.utime(weights, (seconds, seconds))


@pytest.mark.slow
def test_a_half_made_bundle_is_made_again(checkpoint: Checkpoint, cache: Path) -> None:
    bundle_of(checkpoint, cache, "int8")
    (folder,) = cache.glob("*-int8")
    (folder / DONE).unlink()
    (folder / "depth.bin").write_bytes(b"")
    assert speak(OpenVinoRuntime(bundle_of(checkpoint, cache, "int8"), 1), [COLD], 2).shape[0] == 2


def test_memory_grows_by_strides_and_shrinks_when_far_too_large() -> None:
    memory = OpenVinoKVCache(layers=1, rows=2, kv_heads=1, head_dim=2)
    memory.reserve(1)
    memory.store[:] = 1.0
    memory.reserve(STRIDE + 1)
    assert memory.capacity == 2 * STRIDE
    assert memory.store[:, :, :, :STRIDE].eq(1).all()
    assert memory.store[:, :, :, STRIDE:].eq(0).all()
    memory.reserve(8 * STRIDE)
    memory.reserve(STRIDE)
    assert memory.capacity == STRIDE


def test_a_query_sees_what_came_before_it() -> None:
    mask = past_mask(torch.tensor([[2, 3], [0, 1]]), capacity=4)
    assert mask.shape == (2, 1, 2, 6)
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 1, 1]]
    assert mask[1, 0].int().tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]
