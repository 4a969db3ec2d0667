"""The recogniser learns phonemes from originals, and tells the codec what it mispronounces."""

import numpy as np
import pytest
import torch
from torch import Tensor

from recipes.demo_model import phonemes, recogniser
from recipes.demo_model.recogniser import Recogniser
from recipes.demo_model.recordings import NONE, Recording
from recipes.demo_model.sounds import Sounds

CPU = torch.device("cpu")
FRAMES = 4


def _tones() -> list[Recording]:
    """Six seconds of two tones that take turns every 0.2 s; each is a phoneme."""
    time = np.arange(6 * 24_000) / 24_000
    phoneme = (time / 0.2).astype(int) % 2
    pitch = np.where(phoneme, 1200, 300)
    samples = np.sin(2 * np.pi * np.cumsum(pitch) / 24_000) * 0.3
    return [Recording(samples.astype(np.float32), phoneme[::600] + 1)]


@pytest.fixture(scope="module")
def taught() -> Recogniser:
    """A recogniser that knows the two tones."""
    torch.manual_seed(0)
    made, sounds = Recogniser(channels=16), Sounds(_tones(), CPU)
    optimiser = torch.optim.AdamW(made.parameters(), 5e-3)
    for _ in range(100):
        drawn = sounds.draw(8, FRAMES, NONE)
        optimiser.zero_grad()
        made.lesson(drawn.samples, _labels(drawn.labels)).backward()
        optimiser.step()
    return made


def _labels(labels: Tensor | None) -> Tensor:
    assert labels is not None
    return labels.flatten(1)


def test_it_learns_what_is_said_when(taught: Recogniser) -> None:
    drawn = Sounds(_tones(), CPU).draw(32, FRAMES, NONE)
    logits, features = taught(drawn.samples)
    labels = _labels(drawn.labels)
    assert logits.shape == (32, FRAMES * phonemes.LABELS_PER_FRAME, phonemes.CLASSES)
    assert (logits.argmax(-1) == labels).float().mean() > 0.85
    assert [one.shape[-1] for one in features] == [33, 17, 9]


def test_another_phoneme_differs_more_than_another_loudness(taught: Recogniser) -> None:
    taught.loss.fill_(0.1)
    low, high = _steady(300), _steady(1200)
    same, louder, other = (taught.difference(low, made).item() for made in (low, 1.5 * low, high))
    assert same == 0.0 < 4 * louder < other


def _steady(pitch: int) -> Tensor:
    time = torch.arange(FRAMES * 1920) / 24_000
    return 0.3 * torch.sin(2 * torch.pi * pitch * time)[None]


@pytest.mark.parametrize(("loss", "heeded"), [(1.9, True), (2.1, False)])
def test_it_is_heeded_once_it_knows_something(taught: Recogniser, loss: float, heeded: bool) -> None:
    taught.loss.fill_(loss)
    real, made = torch.zeros(1, 7680), torch.randn(1, 7680).requires_grad_()
    (gradient,) = torch.autograd.grad(taught.difference(real, made), made)
    assert bool(gradient.any()) is heeded


def test_the_codecs_loss_teaches_it_nothing(taught: Recogniser) -> None:
    taught.zero_grad()
    taught.difference(torch.zeros(1, 7680), torch.randn(1, 7680).requires_grad_()).backward()
    assert all(value.grad is None and value.requires_grad for value in taught.parameters())


def test_recordings_without_phonemes_teach_it_nothing(taught: Recogniser) -> None:
    taught.zero_grad()
    taught.loss.fill_(1.0)
    loss = taught.lesson(torch.randn(2, 7680), torch.full((2, 8), phonemes.UNKNOWN))
    loss.backward()
    assert loss == 0.0 and taught.loss == 1.0
    assert not any(bool(value.grad.any()) for value in taught.parameters() if value.grad is not None)


def test_its_loss_is_remembered_on_average(taught: Recogniser) -> None:
    taught.loss.fill_(1.0)
    drawn = Sounds(_tones(), CPU).draw(2, FRAMES, NONE)
    loss = taught.lesson(drawn.samples, _labels(drawn.labels))
    assert taught.loss.item() == pytest.approx(1.0 + (1 - recogniser.MEMORY) * (loss.item() - 1.0))
    assert "loss" in taught.state_dict()


def test_it_learns_voices_and_misses_them() -> None:
    torch.manual_seed(0)
    made, voices = Recogniser(channels=16, voices=2), torch.tensor([0, 1])
    sounds = torch.cat([_steady(300), _steady(1200)])
    unknown = torch.full((2, FRAMES * phonemes.LABELS_PER_FRAME), phonemes.UNKNOWN)
    optimiser = torch.optim.AdamW(made.parameters(), 5e-3)
    for _ in range(100):
        optimiser.zero_grad()
        loss = made.lesson(sounds, unknown, voices)
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert torch.equal(made.voice(made(sounds)[1]).argmax(-1), voices)
    made.loss.fill_(1.0)
    mixed = sounds.flip(0)
    assert made.difference(sounds, mixed, voices=True) > made.difference(sounds, mixed) + 1
    assert made.difference(sounds, sounds, voices=True) == 0
