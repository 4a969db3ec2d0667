"""The judges pass real speech and fail what is wrong: without this, their praise of the model would mean nothing."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recipes.demo_model import judges
from tests.quality.criteria import RATE, Clip, mean_word_error_rate, says_the_words, takes_up_the_voice

pytestmark = pytest.mark.quality


def _noise(clip: Clip) -> Clip:
    rng = np.random.default_rng(len(clip.samples))
    return replace(clip, samples=0.1 * rng.standard_normal(len(clip.samples)).astype(np.float32))


def _shuffled(clip: Clip) -> Clip:
    """The same sound, but another order of words was asked for."""
    words = clip.text.split()
    random.Random(0).shuffle(words)
    return replace(clip, text=" ".join(words))


def _backwards(clip: Clip) -> Clip:
    return replace(clip, samples=clip.samples[::-1].copy())


def _next_of_same_voice(clips: list[Clip]) -> list[Clip]:
    """For each clip another by the same voice; they come three to a voice."""
    return [clips[index - 2 if index % 3 == 2 else index + 1] for index in range(len(clips))]


def _of_next_voice(clips: list[Clip]) -> list[Clip]:
    return [clips[(index + 3) % len(clips)] for index in range(len(clips))]


def test_real_speech_says_the_words(clips: list[Clip]) -> None:
    assert mean_word_error_rate(clips) < 0.1


@pytest.mark.parametrize("spoil", [_noise, _shuffled, _backwards])
def test_spoilt_speech_does_not_say_the_words(clips: list[Clip], spoil: Callable[[Clip], Clip]) -> None:
    assert not says_the_words([spoil(clip) for clip in clips])


def test_another_sentence_of_the_same_voice_takes_it_up(clips: list[Clip]) -> None:
    assert takes_up_the_voice(_next_of_same_voice(clips), clips, _of_next_voice(clips))


def test_another_speaker_does_not_take_up_the_voice(clips: list[Clip]) -> None:
    assert not takes_up_the_voice(_of_next_voice(clips), clips, _next_of_same_voice(clips))


def test_noise_does_not_take_up_the_voice(clips: list[Clip]) -> None:
    """Noise is no nearer to its reference than to a stranger's: about half of the trials go each way."""
    noise = [_noise(clip) for clip in clips]
    assert not takes_up_the_voice(noise, clips, _of_next_voice(clips))
    assert max(judges.similarity(one.samples, clip.samples, RATE) for one, clip in zip(noise, clips, strict=True)) < (
        judges.SAME_VOICE
    )


def test_naturalness_tells_speech_from_noise(clips: list[Clip]) -> None:
    speech, noise = judges.naturalness(clips[0].samples, RATE), judges.naturalness(_noise(clips[0]).samples, RATE)
    assert speech > 3.5 > 2 > noise
