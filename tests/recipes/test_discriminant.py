"""Utterances of one speaker are close to each other, whatever else differs between them."""

import torch

from recipes.demo_model import discriminant

SPEAKERS, SENTENCES, WIDTH = 12, 6, 20


def _features(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """What is said moves ten features a lot; who speaks moves the other ten a little."""
    torch.manual_seed(seed)
    speakers = 3 * torch.arange(SPEAKERS).repeat_interleave(SENTENCES)
    said = torch.cat([20 * torch.randn(len(speakers), WIDTH // 2), 0.1 * torch.randn(len(speakers), WIDTH // 2)], 1)
    voices = torch.cat([torch.zeros(SPEAKERS, WIDTH // 2), torch.randn(SPEAKERS, WIDTH // 2)], 1)
    return said + voices[speakers // 3], speakers


def _nearest_is_of_the_speaker(places: torch.Tensor, speakers: torch.Tensor) -> float:
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(1)
    return float((speakers[nearest] == speakers).float().mean())


def test_it_finds_what_speakers_differ_in() -> None:
    features, speakers = _features()
    assert _nearest_is_of_the_speaker(features, speakers) < 0.3
    places = discriminant.fit(features, speakers, width=5)(features)
    assert places.shape == (len(features), 5)
    assert _nearest_is_of_the_speaker(places, speakers) > 0.95


def test_speakers_are_spread_by_one_on_average() -> None:
    features, speakers = _features()
    places = discriminant.fit(features, speakers, width=6)(features)
    centres = discriminant.means_by(places, speakers // 3)
    torch.testing.assert_close(centres.var(0).mean(), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_means_are_those_of_the_groups() -> None:
    rows = torch.tensor([[1.0], [5.0], [3.0]])
    torch.testing.assert_close(discriminant.means_by(rows, torch.tensor([1, 0, 1])), torch.tensor([[5.0], [2.0]]))
