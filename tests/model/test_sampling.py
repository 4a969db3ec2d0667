"""Draws follow the model's distribution, repeat with their seed, and never look at their neighbours."""

import pytest
import torch
from torch import Tensor

from csm.model import sampling
from csm.model.sampling import draw, gumbel_noise

CODES = 12
LOGITS = torch.tensor([2.0, 1.5, 1.5, 1.0, 0.7, 0.2, 0.0, -0.3, -1.0, -1.5, -2.0, -4.0])


def drawn(count: int, temperature: float, top_k: int, logits: Tensor = LOGITS, seed: int = 11) -> Tensor:
    """As many draws as asked for, one per frame of one generation."""
    frame = torch.arange(count)
    noise = gumbel_noise(torch.full((count,), seed), frame, 1, len(logits))[:, 0]
    return draw(logits.expand(count, -1), temperature * noise, torch.full((count, 1), top_k - 1), top_k)


def expected(temperature: float, top_k: int) -> Tensor:
    least = LOGITS.topk(top_k).values[-1]
    return (LOGITS / temperature).where(least <= LOGITS, -torch.inf).softmax(-1)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, CODES), (0.9, 5), (0.5, 8), (2.0, 3), (1.0, 2)])
def test_draws_follow_the_softmax_of_the_top_k(temperature: float, top_k: int) -> None:
    count = 40_000
    seen = drawn(count, temperature, top_k).bincount(minlength=CODES).double()
    wanted = expected(temperature, top_k).double() * count
    possible = wanted > 0
    assert seen[~possible].sum() == 0
    chi_square = ((seen - wanted)[possible].square() / wanted[possible]).sum()
    # Mean: degrees of freedom; deviation: the root of twice as many. Five of them are once in a million.
    freedom = int(possible.sum()) - 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5 + 5


def test_another_distribution_is_told_apart() -> None:
    count = 40_000
    seen = drawn(count, 0.9, CODES).bincount(minlength=CODES).double()
    wanted = expected(1.0, CODES).double() * count
    assert ((seen - wanted).square() / wanted).sum() > 100


@pytest.mark.parametrize("axis", ["seed", "frame", "codebook"])
def test_noise_is_independent_along_every_axis(axis: str) -> None:
    numbers = torch.arange(200)
    if axis == "seed":
        noise = gumbel_noise(numbers, torch.zeros_like(numbers), 1, 500)[:, 0]
    elif axis == "frame":
        noise = gumbel_noise(torch.zeros_like(numbers), numbers, 1, 500)[:, 0]
    else:
        noise = gumbel_noise(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 200, 500)[0]
    correlation = torch.corrcoef(noise.double())
    correlation.fill_diagonal_(0)
    # Of 19,900 pairs with a deviation of 0.045 each, none lies beyond six of them by chance.
    assert correlation.abs().max() < 6 / 500**0.5


def test_noise_has_the_moments_of_a_standard_gumbel_distribution() -> None:
    noise = gumbel_noise(torch.arange(64), torch.arange(64), 32, 512).double()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.std().item() == pytest.approx(torch.pi / 6**0.5, abs=0.01)


def test_the_draw_depends_on_seed_and_frame_and_not_on_row_or_batch() -> None:
    seed, frame = torch.tensor([5, 2**62 + 3, 5, 77]), torch.tensor([9, 0, 10, 9])
    batch = gumbel_noise(seed, frame, 4, 64)
    for row in range(4):
        assert torch.equal(gumbel_noise(seed[row : row + 1], frame[row : row + 1], 4, 64)[0], batch[row])
    assert not torch.equal(batch[0], batch[2])


@pytest.mark.parametrize("bit", [0, 1, 31, 32, 33, 62])
def test_every_bit_of_the_seed_counts(bit: int) -> None:
    zero = torch.zeros(1, dtype=torch.long)
    plain, flipped = (gumbel_noise(zero + seed, zero, 1, 64) for seed in (12345, 12345 ^ (1 << bit)))
    assert (plain != flipped).float().mean() > 0.9


@pytest.mark.parametrize("word", [0, 1, 0xFF, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFE00, 0xFFFFFF00, 0xFFFFFFFF])
def test_noise_is_finite_for_every_word_that_the_generator_can_make(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_mix", lambda x: torch.full_like(x, word))
    zero = torch.zeros(1, dtype=torch.long)
    noise = gumbel_noise(zero, zero, 1, 8)
    assert noise.isfinite().all()
    # 0 times the noise must vanish for greedy rows.
    assert drawn(1, 0.0, CODES).item() == 0


def test_temperature_zero_takes_the_likeliest_code_for_every_top_k() -> None:
    for top_k in (1, 5, CODES):
        assert (drawn(500, 0.0, top_k) == 0).all()


def test_top_k_one_takes_the_likeliest_code_at_every_temperature() -> None:
    assert (drawn(500, 2.0, 1) == 0).all()


def test_each_row_has_its_own_sampling_parameters() -> None:
    rows, frames = 4, 400
    temperature, top_k = torch.tensor([0.0, 1.0, 2.0, 0.9]), torch.tensor([12, 1, 3, 12])
    seed = torch.tensor([1, 2, 3, 4])
    noise = [gumbel_noise(seed, torch.full((rows,), frame), 1, CODES)[:, 0] for frame in range(frames)]
    codes = torch.stack(
        [draw(LOGITS.expand(rows, -1), temperature[:, None] * one, top_k[:, None] - 1, CODES) for one in noise], dim=1
    )
    assert (codes[:2] == 0).all()
    assert set(codes[2].tolist()) == {0, 1, 2}
    assert torch.equal(codes[3], drawn(frames, 0.9, CODES, seed=4))


def test_huge_and_tiny_logits_are_drawn_without_overflow() -> None:
    assert (drawn(100, 1.0, CODES, LOGITS * 1e30) == 0).all()
    assert set(drawn(3000, 1.0, CODES, LOGITS * 1e-30).tolist()) == set(range(CODES))
    assert (drawn(100, 1.0, CODES, LOGITS.to(torch.float16)) < CODES).all()


def first(rows: int = 1, recent: list[int] | None = None, top_k: int = 1, **given: bool) -> Tensor:
    """First codes of rows that share their logits, drawn with noise of their own at temperature 1."""
    frame, seed = torch.arange(rows), torch.full((rows,), 3)
    noise = gumbel_noise(seed, frame, 2, CODES)
    rules = sampling.Rules(
        temperature=torch.ones(rows),
        top_k=torch.full((rows,), top_k),
        recent=torch.tensor([(recent or []) + [-1] * (sampling.RECENT_FRAMES - len(recent or []))]).expand(rows, -1),
        may_end=torch.full((rows,), given.get("may_end", True)),
        avoid_repeats=torch.full((rows,), given.get("avoid_repeats", True)),
    )
    # The likeliest code is 1, so that it is not the end.
    logits = LOGITS.roll(1).expand(rows, -1)
    return sampling.draw_first(logits, noise[:, 0], noise[:, 1], rules.top_k[:, None] - 1, rules, top_k)


def test_a_first_code_that_came_twice_just_before_is_drawn_from_the_whole_distribution() -> None:
    assert (first(500, [1]) == 1).all()
    again = first(4000, [1, 5, 1])
    seen = again.bincount(minlength=CODES).double() / len(again)
    assert (seen - LOGITS.roll(1).softmax(-1)).abs().max() < 0.03


def test_a_repetition_is_let_be_where_it_is_allowed_or_is_the_end() -> None:
    assert (first(500, [1, 1, 1], avoid_repeats=False) == 1).all()
    frame = torch.arange(500)
    noise = gumbel_noise(torch.full((500,), 3), frame, 2, CODES)
    ends = torch.tensor([9.0] + [0.0] * (CODES - 1)).expand(500, -1)
    ones = torch.ones(500, dtype=torch.long)
    rules = sampling.Rules(
        torch.ones(500), ones, torch.zeros(500, sampling.RECENT_FRAMES, dtype=torch.long), ones > 0, ones > 0
    )
    assert (sampling.draw_first(ends, noise[:, 0], noise[:, 1], ones[:, None] - 1, rules, 1) == 0).all()


def test_the_end_cannot_be_drawn_before_the_floor() -> None:
    assert (first(4000, top_k=CODES) == 0).any()
    assert not (first(4000, top_k=CODES, may_end=False) == 0).any()
