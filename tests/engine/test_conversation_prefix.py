"""A conversation goes on from the keys and values of its last turn: the same codes, and less to prefill."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from csm.engine.api import Sampling
from csm.engine.prefix_cache import ConversationPrefix, PrefixCache
from csm.engine.stats import EngineStats
from csm.errors import InvalidRequest
from csm.model.conversation import Conversation, Turn, text_ids
from tests.engine.engine_harness import EngineFactory, RecordingRuntime, SteppedEngine, codes, collect, voice
from tests.model.prompts import GREEDY

FRAMES = 6
REFERENCES = (Turn("0", "Heard.", voice(0)), Turn("1", "Also heard.", voice(1)))
TEXTS = ("Hi.", "Yes?", "So.", "Go.")


class Talk:
    """A conversation that goes on turn by turn, in two voices.

    Args:
        engine: a stepped one.
        cache: to pass to it.
        sampling: of all turns.
    """

    def __init__(self, engine: Any, cache: ConversationPrefix | None, sampling: Sampling = GREEDY) -> None:
        self.engine, self.cache, self.sampling = engine, cache, sampling
        self.said: list[Turn] = []

    def say(self, text: str, frames: int = FRAMES) -> list[list[int]]:
        """Generate the next turn and return its codes."""
        target = Turn(str(len(self.said) % 2), text)
        conversation = Conversation((*REFERENCES, *self.said, target), history=len(self.said))
        generation = self.engine.generate(conversation, self.sampling, frames, lambda: False, cache=self.cache)
        self.engine.run_dry()
        chunks, error = collect(generation)
        assert error is None
        spoken = codes(chunks)
        self.said.append(replace(target, audio=voice(9), codes=spoken))
        return spoken.tolist()


@pytest.fixture
def ends_early(engines: EngineFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every turn end at its floor, as the model's end frame does."""
    depth = engines.runtime.depth
    towards_the_end = torch.zeros(depth.codebook_size)
    towards_the_end[0] = 100.0
    monkeypatch.setattr(depth, "_known", lambda logits: logits[:, : depth.codebook_size] + towards_the_end)


def test_turns_have_the_same_codes_with_the_cache(engines: EngineFactory) -> None:
    alone = Talk(engines(SteppedEngine), None)
    runtime = RecordingRuntime(engines.runtime)
    cached = Talk(engines(SteppedEngine, runtime), ConversationPrefix())
    for number, text in enumerate(TEXTS):
        before = runtime.positions_read
        assert cached.say(text) == alone.say(text)
        if number:
            # The last frame, which was no input any more, the end frame, and the text but its last token.
            expected = 1 + 1 + len(text_ids(cached.said[-1], engines.tokenizer)) - 1
            assert runtime.positions_read - before == expected
    assert runtime.count("save_row") == len(TEXTS)


@pytest.mark.usefixtures("ends_early")
def test_turns_that_end_by_themselves_have_the_same_codes_with_the_cache(engines: EngineFactory) -> None:
    sampling = replace(GREEDY, min_frames=4)
    alone = Talk(engines(SteppedEngine), None, sampling)
    runtime = RecordingRuntime(engines.runtime)
    cached = Talk(engines(SteppedEngine, runtime), ConversationPrefix(), sampling)
    for number, text in enumerate(TEXTS):
        before = runtime.positions_read
        spoken = cached.say(text, frames=20)
        assert spoken == alone.say(text, frames=20) and len(spoken) == 4
        if number:
            expected = 1 + len(text_ids(cached.said[-1], engines.tokenizer)) - 1
            assert runtime.positions_read - before == expected


def leave_out(said: list[Turn]) -> list[Turn]:
    return said[1:]


def change_a_code(said: list[Turn]) -> list[Turn]:
    assert said[0].codes is not None
    changed = said[0].codes.copy()
    changed[2, 1] ^= 1
    return [replace(said[0], codes=changed), *said[1:]]


def change_a_role(said: list[Turn]) -> list[Turn]:
    return [replace(said[0], role="1"), *said[1:]]


def change_a_word(said: list[Turn]) -> list[Turn]:
    return [*said[:-1], replace(said[-1], text="No.")]


@pytest.mark.parametrize("change", [leave_out, change_a_code, change_a_role, change_a_word])
def test_what_is_not_as_it_was_is_prefilled_again(
    change: Callable[[list[Turn]], list[Turn]], engines: EngineFactory
) -> None:
    runtime = RecordingRuntime(engines.runtime)
    cached, alone = Talk(engines(SteppedEngine, runtime), ConversationPrefix()), Talk(engines(SteppedEngine), None)
    for text in TEXTS[:2]:
        cached.say(text)
    cached.said = change(cached.said)
    alone.said = list(cached.said)
    before = runtime.positions_read
    assert cached.say("Next.") == alone.say("Next.")
    assert runtime.positions_read - before > 2 + len(text_ids(cached.said[-1], engines.tokenizer)) - 1


def test_a_turn_that_is_generated_again_begins_behind_what_it_has_in_common(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    cached = Talk(engines(SteppedEngine, runtime), ConversationPrefix())
    cached.say("Hi.")
    first = cached.say("Again?")
    cached.said.pop()
    before = runtime.positions_read
    assert cached.say("Again?") == first and runtime.positions_read == before


def test_a_generation_that_was_closed_leaves_the_cache_as_it_was(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    cached = Talk(engines(SteppedEngine, runtime), ConversationPrefix())
    cached.say("Hi.")
    conversation = Conversation((*REFERENCES, *cached.said, Turn("1", "Never mind.")), history=1)
    generation = cached.engine.generate(conversation, GREEDY, 50, lambda: False, cache=cached.cache)
    for _ in range(4):
        cached.engine.step()
    generation.close()
    cached.engine.run_dry()
    assert runtime.count("save_row") == 1
    alone = Talk(engines(SteppedEngine), None)
    assert [alone.say("Hi."), alone.say("Yes?")][1] == cached.say("Yes?")


def test_nothing_is_kept_without_a_cache(engines: EngineFactory) -> None:
    runtime = RecordingRuntime(engines.runtime)
    Talk(engines(SteppedEngine, runtime), None).say("Hi.")
    assert runtime.count("save_row") == 0


def test_turns_of_several_conversations_at_once_do_not_mix(engines: EngineFactory) -> None:
    """Rows are moved when others end, and what is kept is still of the right row."""
    alone = [Talk(engines(SteppedEngine), None) for _ in range(3)]
    engine = engines(SteppedEngine)
    caches = [ConversationPrefix() for _ in range(3)]
    said: list[list[Turn]] = [[], [], []]
    for turn in range(3):
        running = []
        for number in range(3):
            target = Turn(str(turn % 2), f"{number} says {turn}.")
            conversation = Conversation((*REFERENCES, *said[number], target), history=turn)
            running.append(engine.generate(conversation, GREEDY, 3 + 2 * number, lambda: False, cache=caches[number]))
        engine.run_dry()
        for number, generation in enumerate(running):
            spoken = codes(collect(generation)[0])
            assert spoken.tolist() == alone[number].say(f"{number} says {turn}.", 3 + 2 * number)
            said[number].append(replace(generation.conversation.target, audio=voice(9), codes=spoken))


def test_the_turn_must_fit_behind_what_was_said(engines: EngineFactory) -> None:
    talk = Talk(engines(SteppedEngine), None)
    talk.say("Hi.")
    with pytest.raises(InvalidRequest):
        talk.say("Yes?", engines.runtime.positions)
    talk.said.clear()
    assert talk.say("Yes?", engines.runtime.positions)


def rows(count: int) -> Tensor:
    return torch.arange(count)[:, None].expand(-1, 3)


def prefix(positions: int) -> Tensor:
    return torch.ones(1, 2, positions, 1, 4)


SIZE = prefix(1).nbytes
"""Bytes of one position."""


def test_conversations_take_a_share_of_the_memory_and_more_are_not_kept() -> None:
    cache = PrefixCache(100 * SIZE, lambda turn, _: torch.zeros(SIZE // 8, 1, dtype=torch.long), EngineStats())
    one, two = ConversationPrefix(), ConversationPrefix()
    cache.keep(one, rows(50), lambda: prefix(50))
    cache.keep(two, rows(50), lambda: prefix(50))
    assert (one.size, two.size) == (50 * SIZE, 0) and two.common(rows(50)) is None
    cache.keep(one, rows(20), lambda: prefix(20))
    cache.keep(two, rows(50), lambda: prefix(50))
    assert (one.size, two.size) == (20 * SIZE, 50 * SIZE)
    del one
    third = ConversationPrefix()
    cache.keep(third, rows(25), lambda: prefix(25))
    assert third.size == 25 * SIZE


def test_voices_make_room_for_conversations() -> None:
    cache = PrefixCache(100 * SIZE, lambda turn, _: torch.zeros(SIZE // 8 * 10, 1, dtype=torch.long), EngineStats())
    for number in range(10):
        cache.get([Turn("0", "Heard.", voice(number))])
    assert len(cache) == 10
    kept = ConversationPrefix()
    cache.keep(kept, rows(45), lambda: prefix(45))
    assert len(cache) == 5 and kept.size == 45 * SIZE


def test_a_copy_that_does_not_fit_into_memory_is_not_kept() -> None:
    def fail() -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    cache, kept = PrefixCache(100 * SIZE, lambda turn, _: torch.zeros(1, 1), EngineStats()), ConversationPrefix()
    cache.keep(kept, rows(5), lambda: prefix(5))
    cache.keep(kept, rows(6), fail)
    assert kept.size == 0 and kept.common(rows(6)) is None


@pytest.mark.parametrize(("other", "common"), [(rows(3), 3), (rows(9), 5), (rows(5) + 1, 0), (rows(5) * 2, 1)])
def test_as_much_is_used_as_a_prompt_has_in_common(other: Tensor, common: int) -> None:
    kept = ConversationPrefix()
    kept.put(rows(5), prefix(5))
    found = kept.common(other)
    assert (0 if found is None else found.shape[2]) == common
