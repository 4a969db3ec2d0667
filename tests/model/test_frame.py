"""Our frames are those of `transformers.generate`, code for code."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CsmForConditionalGeneration

from csm.engine.runtimes.torch import TorchRuntime
from csm.model.checkpoint import open_checkpoint
from csm.model.conversation import Conversation, Turn
from tests import tiny_checkpoints
from tests.model import prompts

SAID = [
    prompts.heard("A first text."),
    Conversation((Turn("0", "No voice at all."),)),
    prompts.heard("Short", "", samples=4321),
]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, 50) for name in tiny_checkpoints.SIZES if name != "full_depth"),
        ("full_depth", 8),
        pytest.param("full_depth", 50, marks=pytest.mark.slow),
    ],
)
def test_greedy_codes_equal_transformers_in_a_batch_of_mixed_lengths(
    name: str,
    count: int,
    reference: Callable[..., CsmForConditionalGeneration],
    runtime: Callable[..., TorchRuntime],
    tiny: Callable[..., Path],
) -> None:
    model, ours, tokenizer = reference(name), runtime(name), open_checkpoint(tiny(name)).tokenizer
    embedded = [prompts.embedded(ours, tokenizer, said) for said in SAID]
    expected = [prompts.greedy(model, count, inputs_embeds=x[None]) for x in embedded]
    for row, x in enumerate(embedded):
        prompts.join(ours, row, x, prompts.GREEDY, piece=7 + row)
    codes = prompts.frames(ours, [len(x) - 1 for x in embedded], count)
    for row, frames in enumerate(expected):
        assert len(frames) == count
        assert torch.equal(codes[row], frames)
    # A model that says the same frame for ever would make this easy.
    assert len(torch.unique(codes.flatten(0, 1), dim=0)) > 3


def test_a_prompt_may_be_prefilled_in_any_chunks(
    runtime: Callable[..., TorchRuntime], tiny: Callable[..., Path]
) -> None:
    ours, tokenizer = runtime(), open_checkpoint(tiny()).tokenizer
    x = prompts.embedded(ours, tokenizer, SAID[0])
    made = []
    for piece in (1, 16, 1000):
        prompts.join(ours, 0, x, prompts.GREEDY, piece)
        made.append(prompts.frames(ours, [len(x) - 1], 8))
    assert torch.equal(made[0], made[1]) and torch.equal(made[1], made[2])


def test_only_codes_of_the_codebook_are_drawn(runtime: Callable[..., TorchRuntime], tiny: Callable[..., Path]) -> None:
    ours, size = runtime("untied"), runtime("untied").depth.codebook_size
    x = prompts.embedded(ours, open_checkpoint(tiny("untied")).tokenizer, SAID[1])
    heads = [ours.depth.first_head.weight, *(head.weight for head in ours.depth.heads)]
    kept = [weight.clone() for weight in heads]
    with torch.inference_mode():
        for weight in heads:
            # One of any two opposite rows is by far the likeliest, whatever comes in.
            weight[size : size + 3] = 1000 * torch.stack([weight[0], -weight[0], weight[1]])
        prompts.join(ours, 0, x, prompts.GREEDY)
        codes = prompts.frames(ours, [len(x) - 1], 4)
        for weight, before in zip(heads, kept, strict=True):
            weight.copy_(before)
    assert codes.min() >= 0 and codes.max() < size
