"""The Python API: load a model, give it a voice and a text, and get or stream the speech.

    model = csm.load("sesame/csm-1b")
    speech = model.say("Hello.", voice="voice.m4a", transcript="What is said in voice.m4a.")

Import `load`, `CSM` and `StoredVoice` from `csm`.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from csm import settings
from csm.audio.encoders.pcm import from_pcm16
from csm.audio.tempo import MAX_SPEED, MIN_SPEED
from csm.audio.waveform import Samples, Waveform
from csm.errors import InvalidRequest
from csm.speech.api import SAMPLE_RATE, Delivery, Dialogue, DialogueTurn, Synthesizer, VoiceSource
from csm.speech.build import build

VoiceFile = str | os.PathLike[str] | bytes
"""Reference audio of one speaker: the path or the content of a file in any common format."""


@dataclass(frozen=True)
class StoredVoice:
    """A voice in the folder of the setting `voices_dir`, or `default`, which comes with the package.

    Attributes:
        name: its name or id.
    """

    name: str


class CSM:
    """A loaded model; get one with `load`. Thread-safe. Use it as a context manager, or close it yourself.

    Args:
        synthesizer: generates the speech.

    Attributes:
        sample_rate: of all speech, in Hz.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer

    @classmethod
    def from_settings(cls, chosen: settings.Settings) -> "CSM":
        """Load the model that the settings describe; see `load`."""
        return cls(build(chosen))

    def say(
        self,
        text: str,
        voice: VoiceFile | StoredVoice,
        transcript: str | None = None,
        *,
        temperature: float = 0.9,
        top_k: int = 50,
        seed: int | None = None,
        max_seconds: float | None = None,
        speed: float = 1.0,
    ) -> Waveform:
        """Return the text as speech in a voice, after all of it is generated.

        Args:
            text: what to say, in English.
            voice: reference audio: 5 to 15 s of clean speech; or a stored voice. Reference audio is encoded once, as
                long as it stays in the cache (setting `voice_cache_mb`).
            transcript: the words of the reference audio; no other argument improves the likeness as much. A stored
                voice has its own.
            temperature: 0 to 2; 0 always takes the most likely code.
            top_k: 1 to 2051; the number of most likely codes that each draw chooses from.
            seed: makes the result repeatable; None chooses a random one.
            max_seconds: maximum length of the result; None for as much as the text needs.
            speed: 0.5 to 2, with the pitch kept; 2 halves the duration.

        Returns:
            float32 samples `[samples]` within -1..1, at `sample_rate`.

        Raises:
            OSError: the file cannot be read.
            csm.errors.CsmError: the reference audio or an argument cannot be used, generation failed, or there are
                more simultaneous calls than the settings `slots` and `queue` allow.
        """
        chunks = self.stream(
            text,
            voice,
            transcript,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            max_seconds=max_seconds,
            speed=speed,
            stream=False,
        )
        return Waveform(np.concatenate(list(chunks)), SAMPLE_RATE)

    def stream(
        self,
        text: str,
        voice: VoiceFile | StoredVoice,
        transcript: str | None = None,
        *,
        temperature: float = 0.9,
        top_k: int = 50,
        seed: int | None = None,
        max_seconds: float | None = None,
        speed: float = 1.0,
        stream: bool = True,
    ) -> Generator[Samples, None, None]:
        """Yield the text as speech in a voice while it is generated; for the arguments see `say`.

        Nothing happens before the first chunk is requested. Closing the iterator stops the generation. With
        `stream=False`, each segment of the text is yielded when it is complete; a bad one is generated again.

        Yields:
            float32 samples `[samples]` within -1..1, at `sample_rate`: usually 75 ms first, and 640 ms later.

        Raises:
            OSError, csm.errors.CsmError: as `say`.
        """
        dialogue = Dialogue(
            [DialogueTurn(0, text)],
            {0: _source(voice, transcript)},
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            max_seconds=max_seconds,
            speed=speed,
            stream=stream,
        )
        for _, samples in self._perform(dialogue):
            yield samples

    def converse(
        self,
        turns: Sequence[tuple[str, str] | tuple[str, str, VoiceFile]],
        voices: Mapping[str, VoiceFile | StoredVoice | tuple[VoiceFile, str]],
        *,
        temperature: float = 0.9,
        top_k: int = 50,
        seed: int | None = None,
        max_seconds: float | None = None,
        speed: float = 1.0,
        stream: bool = True,
    ) -> Generator[tuple[int, Samples], None, None]:
        """Yield the turns of a dialogue while they are generated, each with all turns before as context.

        Args:
            turns: of the form `(speaker, text)`, to be spoken, or `(speaker, text, recording)`, which was heard.
            voices: for each speaker reference audio, alone or with its transcript, or a stored voice. A speaker without
                one speaks as in their first turn that was heard.
            temperature: as for `say`.
            top_k: as for `say`.
            seed: as for `say`.
            max_seconds: maximum length of the whole dialogue.
            speed: as for `say`.
            stream: as for `stream`.

        Yields:
            The index of the turn, and samples of it as from `stream`.

        Raises:
            OSError, csm.errors.CsmError: as `say`.
        """
        numbers = {name: number for number, name in enumerate(dict.fromkeys(turn[0] for turn in turns))}
        if voices.keys() - numbers.keys():
            raise InvalidRequest("voices: there is an entry for somebody who has no turn")
        sources = {name: voice if isinstance(voice, tuple) else (voice, None) for name, voice in voices.items()}
        dialogue = Dialogue(
            [DialogueTurn(numbers[turn[0]], turn[1], _read(turn[2]) if len(turn) == 3 else None) for turn in turns],
            {numbers[name]: _source(*source) for name, source in sources.items()},
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            max_seconds=max_seconds,
            speed=speed,
            stream=stream,
        )
        yield from self._perform(dialogue)

    def _perform(self, dialogue: Dialogue) -> Generator[tuple[int, Samples], None, None]:
        _check(dialogue)
        with (
            self._synthesizer.reserve() as reservation,
            closing(self._synthesizer.speak(dialogue, reservation, lambda: False)) as speech,
        ):
            for pcm in speech:
                yield speech.notes.turn, from_pcm16(pcm)

    def close(self) -> None:
        """Stop all generations and release the device."""
        self._synthesizer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(model: str | None = None, **fields: Any) -> CSM:
    """Download a model if needed, load it and warm it up.

    Args:
        model: Hub repository, local folder, or `demo`; None takes the variable `CSM_MODEL`, else `sesame/csm-1b`.
        fields: of `csm.settings.Settings`, such as `device="cpu"`, `precision="int8"` or `slots=1`. They take
            precedence over the variables `CSM_…`. A file `.env` is not read. All speech carries a watermark, unless
            `watermark=False`.

    Raises:
        csm.settings.SettingsError: a setting is unknown or out of range.
        csm.errors.ModelUnavailable: the model cannot be fetched, read or run here; the message names the remedy.
    """
    known = settings.Settings.model_fields
    if unknown := sorted(fields.keys() - known):
        raise settings.SettingsError(f"unknown setting {unknown[0]}: known are {', '.join(known)}")
    # No socket is opened, so the check that a public CSM_HOST needs keys does not apply.
    return CSM.from_settings(
        settings.load(None, **{"host": "127.0.0.1"} | fields | ({"model": model} if model else {}))
    )


def _source(voice: VoiceFile | StoredVoice, transcript: str | None) -> VoiceSource:
    if not isinstance(voice, StoredVoice):
        return VoiceSource(_read(voice), transcript=transcript)
    if transcript:
        raise InvalidRequest("transcript belongs to reference audio; a stored voice has its own")
    return VoiceSource(voice=voice.name)


def _read(file: VoiceFile) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _check(delivery: Delivery) -> None:
    """Check the numbers of a request, as the HTTP layer does.

    Raises:
        InvalidRequest: a number is out of range.
    """
    if not 0 <= delivery.temperature <= 2:
        raise InvalidRequest("temperature must be a number from 0 to 2")
    if not 1 <= delivery.top_k <= 2051:
        raise InvalidRequest("top_k must be a whole number from 1 to 2051")
    if delivery.seed is not None and not 0 <= delivery.seed < 2**63:
        raise InvalidRequest("seed must be a whole number from 0 to 2**63 - 1")
    if delivery.max_seconds is not None and not delivery.max_seconds > 0:
        raise InvalidRequest("max_seconds must be more than 0")
    if not MIN_SPEED <= delivery.speed <= MAX_SPEED:
        raise InvalidRequest(f"speed must be a number from {MIN_SPEED:g} to {MAX_SPEED:g}")
