"""The demo model, through the running service: it says the words, and in the voice that it was given."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from examples.demo import Server, clone_voice, running_server, wait_until_healthy
from recipes.demo_model import judges
from recipes.demo_model.evaluate import Cloner
from recipes.demo_model.export import SHIPPED
from tests.quality.criteria import (
    RATE,
    Clip,
    mean_word_error_rate,
    says_the_words,
    share_nearer_to_own,
    takes_up_the_voice,
)

pytestmark = [pytest.mark.quality, pytest.mark.usefixtures("trained")]

KEY = "quality"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {"CSM_MODEL": "demo", "CSM_API_KEYS": KEY, "CSM_RATE_LIMIT": "1000 per minute"}
    with running_server(settings) as running:
        wait_until_healthy(running)
        yield running


@pytest.fixture(scope="module")
def references(clips: list[Clip]) -> list[Clip]:
    """For each clip another by the same voice: its text is said in this voice."""
    return [clips[index - 2 if index % 3 == 2 else index + 1] for index in range(len(clips))]


@pytest.fixture(scope="module")
def strangers(clips: list[Clip]) -> list[Clip]:
    return [clips[(index + 4) % len(clips)] for index in range(len(clips))]


@pytest.fixture(scope="module")
def clones(server: Server, clips: list[Clip], references: list[Clip]) -> list[Clip]:
    """Each held-out text in its voice, cloned over HTTP."""
    return [_clone(server, clip.text, reference) for clip, reference in zip(clips, references, strict=True)]


def test_clones_say_the_words(clones: list[Clip]) -> None:
    print(f"word error rate {mean_word_error_rate(clones):.2f}")
    print(f"naturalness {np.mean([judges.naturalness(clone.samples, RATE) for clone in clones]):.2f}")
    assert says_the_words(clones)


def test_clones_are_nearer_to_their_own_reference(
    clones: list[Clip], references: list[Clip], strangers: list[Clip]
) -> None:
    print(f"nearer to own {share_nearer_to_own(clones, references, strangers):.0%}")
    assert takes_up_the_voice(clones, references, strangers)


def test_the_reference_is_what_brings_the_voice(clones: list[Clip], references: list[Clip]) -> None:
    """Without a reference the model speaks in whatever voice comes, which is further away."""
    speaker = Cloner(SHIPPED)
    gains = []
    for clone, reference in zip(clones[::3], references[::3], strict=True):
        alone = speaker.say(clone.text, None, None, seed=0)
        to_clone, to_alone = (judges.similarity(one, reference.samples, RATE) for one in (clone.samples, alone))
        gains.append(to_clone - to_alone)
    assert np.mean(gains) > 0


def _clone(server: Server, text: str, reference: Clip) -> Clip:
    upload = io.BytesIO()
    soundfile.write(upload, reference.samples, RATE, format="WAV")
    fields = {"text": text, "transcript": reference.text, "seed": "0", "stream": "false", "max_seconds": "12"}
    answer = clone_voice(server.port, KEY, upload.getvalue(), "reference.wav", fields)
    assert answer.status == 200, answer.body
    samples, rate = soundfile.read(io.BytesIO(answer.body), dtype="float32")
    assert rate == RATE
    return Clip(text, reference.speaker, samples)
