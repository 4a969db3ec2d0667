"""The engine that uses `transformers` gives the audio of `transformers`, and so does the `csm` engine."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, CsmForConditionalGeneration

from csm.engine.api import Sampling
from csm.engine.csm_engine import CsmEngine
from csm.engine.runtimes.torch import TorchRuntime
from csm.engine.transformers_engine import TransformersEngine
from csm.errors import Cancelled, InvalidRequest
from csm.model.checkpoint import Checkpoint
from tests.engine.engine_harness import CPU, EngineFactory, Request, codes, make_conversation, samples
from tests.model import prompts
from tests.model.prompts import GREEDY
from tests.polling import wait_until


@pytest.fixture(scope="module")
def ours(small: Checkpoint) -> Iterator[CsmEngine]:
    engines = EngineFactory(TorchRuntime(small, CPU, 2), small.tokenizer)
    yield engines(slots=2)
    engines.close()


@pytest.fixture(scope="module")
def engine(small: Checkpoint) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(small, CPU, 60)
    yield engine
    engine.close()


@pytest.mark.parametrize("frames", [1, 20])
def test_both_engines_give_the_same_greedy_audio(ours: CsmEngine, engine: TransformersEngine, frames: int) -> None:
    request = Request("Both say this.", speaker=2, sampling=GREEDY, frames=frames)
    one, two = request.run(ours), request.run(engine)
    assert len(codes(one)) == frames and codes(one).tolist() == codes(two).tolist()
    assert [len(chunk.codes) for chunk in one] == [len(chunk.codes) for chunk in two]
    assert np.abs(samples(one) - samples(two)).max() < 1e-5


def test_the_engine_gives_the_codes_of_transformers(
    engine: TransformersEngine, small: Checkpoint, tiny: Callable[..., Path]
) -> None:
    conversation = make_conversation("Sample for sample.", speaker=3)
    heard = list(engine.generate(conversation, GREEDY, 12, lambda: False))
    model: Any = CsmForConditionalGeneration.from_pretrained(tiny(), dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tiny())
    prompt = processor.apply_chat_template(prompts.messages(conversation), tokenize=True, return_dict=True)
    wanted = model.generate(
        **prompt,
        max_new_tokens=12,
        do_sample=False,
        depth_decoder_do_sample=False,
        output_audio=True,
        return_dict_in_generate=True,
    )
    assert codes(heard).tolist() == wanted.sequences[0].tolist()
    assert np.abs(samples(heard) - wanted.audio[0].numpy()).max() < 1e-5


def test_a_seed_gives_the_same_audio_after_other_requests(engine: TransformersEngine) -> None:
    seeded = Request(sampling=Sampling(seed=5), frames=4)
    first = codes(seeded.run(engine)).tolist()
    other = codes(Request(sampling=Sampling(seed=6, temperature=1.5, top_k=64), frames=4).run(engine)).tolist()
    Request(sampling=GREEDY, frames=2).run(engine)
    assert codes(seeded.run(engine)).tolist() == first != other


def test_greedy_after_sampling_is_greedy(engine: TransformersEngine) -> None:
    before = codes(Request(sampling=GREEDY, frames=4).run(engine)).tolist()
    Request(sampling=Sampling(seed=6, temperature=2.0, top_k=64), frames=2).run(engine)
    assert codes(Request(sampling=GREEDY, frames=4).run(engine)).tolist() == before


def test_requests_are_served_in_order_and_cancelled_ones_stop(engine: TransformersEngine) -> None:
    first, second = Request(frames=400).start(engine), Request(frames=2).start(engine)
    assert len(next(first).codes) == 1
    assert engine.running == 1
    first.close()
    assert len(codes(list(second))) == 2
    wait_until(lambda: engine.running == 0)


@pytest.mark.parametrize("kind", ["csm", "transformers"])
def test_a_client_waits_for_at_most_one_segment_of_a_long_text(
    small: Checkpoint, engine: TransformersEngine, kind: str
) -> None:
    """A long text asks for its segments one after the other; who comes in between is served between two of them."""
    engines, begun = EngineFactory(TorchRuntime(small, CPU, 1), small.tokenizer), list[str]()
    only_slot: Any = engines(slots=1) if kind == "csm" else engine

    def speak(client: str, segments: int) -> None:
        for number in range(segments):
            answer = Request(f"Segment {number}.", frames=30).start(only_slot)
            next(answer)
            begun.append(client)
            list(answer)

    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(speak, "long", 8)
        wait_until(lambda: begun)
        before = len(begun)
        speak("short", 1)
        long.result()
    engines.close()
    assert begun.index("short") <= before + 1 < len(begun) - 2


def test_what_does_not_fit_the_context_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(InvalidRequest, match="shorten"):
        Request("z" * 2048, frames=2).run(engine)


def test_closing_cancels_running_and_waiting_requests(small: Checkpoint) -> None:
    engine = TransformersEngine(small, CPU, 60)
    speaking, waiting = Request(frames=1000).start(engine), Request().start(engine)
    assert next(speaking)
    engine.close()
    for generation in (speaking, waiting):
        with pytest.raises(Cancelled):
            list(generation)
    wait_until(lambda: engine.running == 0)
