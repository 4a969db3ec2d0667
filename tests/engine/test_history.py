"""What was said before goes on in the prompt as it was made, and no turn ends before its floor."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from csm.engine.api import Sampling
from csm.model.conversation import Conversation, Turn
from tests.engine.engine_harness import (
    EngineFactory,
    RecordingRuntime,
    Request,
    SteppedEngine,
    codes,
    collect,
    make_conversation,
    voice,
)
from tests.model.prompts import GREEDY


def answer(engine: Any, conversation: Conversation, sampling: Sampling = GREEDY, frames: int = 6) -> list[list[int]]:
    generation = engine.generate(conversation, sampling, frames, lambda: False)
    engine.run_dry()
    chunks, error = collect(generation)
    assert error is None
    return codes(chunks).tolist() if chunks else []


def test_turns_said_before_count_as_turns_that_were_heard_with_the_same_codes(engines: EngineFactory) -> None:
    engine = engines(SteppedEngine)
    turns = [Turn("0", "Heard.", voice(0)), Turn("0", "Said before.", voice(1)), Turn("0", "Go on.")]
    encoded = np.asarray(engine._encoder.encode(turns[1]))
    before = replace(turns[1], codes=encoded)
    heard = answer(engine, Conversation(tuple(turns)))
    assert answer(engine, Conversation((turns[0], before, turns[2]), history=1)) == heard
    assert answer(engine, Conversation((turns[0], turns[2]))) != heard


def test_a_voice_with_codes_counts_as_one_that_is_encoded_and_needs_no_encoder(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    heard, target = make_conversation("The first segment.").turns
    wanted = answer(engines(SteppedEngine, runtime), Conversation((heard, target)))
    known = engines(SteppedEngine).encode(heard, lambda: False)
    runtime.calls.clear()
    engine = engines(SteppedEngine, runtime, voice_bytes=0)
    assert answer(engine, Conversation((replace(heard, codes=known), target))) == wanted
    assert runtime.count("encode") == 0


def test_only_the_voice_is_encoded_and_kept_and_its_prefix_serves_every_segment(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    engine = engines(SteppedEngine, runtime)
    first = make_conversation("The first segment.")
    answer(engine, first)
    kept, encoded = engine.voices.size, runtime.count("encode")
    for number in range(3):
        before = Turn("0", "Said.", voice(number), np.full((4, 2), number, np.int64))
        runtime.calls.clear()
        answer(engine, Conversation((*first.context, before, Turn("0", "The next segment.")), history=1))
        assert runtime.count("load_prefix") == 1 and runtime.count("encode") == 0
    assert (engine.voices.size, len(engine.voices), encoded) == (kept, 1, 1)


def test_what_was_said_before_needs_its_codes() -> None:
    turns = (Turn("0", "Heard.", voice(0)), Turn("0", "Said.", voice(1)), Turn("0", "Go on."))
    with pytest.raises(ValueError, match="codes"):
        Conversation(turns, history=1)


@pytest.mark.parametrize("floor", [0, 1, 5])
def test_a_turn_that_would_end_at_once_goes_on_to_its_floor(
    floor: int, engines: EngineFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = engines.runtime.depth
    towards_the_end = torch.zeros(depth.codebook_size)
    towards_the_end[0] = 100.0
    monkeypatch.setattr(depth, "_known", lambda logits: logits[:, : depth.codebook_size] + towards_the_end)
    frames = answer(engines(SteppedEngine), make_conversation("Hello."), replace(GREEDY, min_frames=floor), frames=20)
    assert len(frames) == floor
    assert all(frame[0] != 0 for frame in frames)


def test_repetition_aware_draws_change_what_is_said_and_repeat_with_the_seed(engines: EngineFactory) -> None:
    def spoken(avoid_repeats: bool) -> list[list[int]]:
        sampling = Sampling(5, temperature=0.5, top_k=2, avoid_repeats=avoid_repeats)
        return codes(Request("Some text.", sampling=sampling, frames=40).run(engines())).tolist()

    assert spoken(True) == spoken(True) != spoken(False)
