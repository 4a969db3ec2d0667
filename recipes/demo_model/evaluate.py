"""Stage e: score a codec or a model on held-out voices and sentences.

    python -m recipes.demo_model.evaluate codec work/codec/weights --speech work/held-out --out work/codec.json
    python -m recipes.demo_model.evaluate model work/csm/weights --speech work/held-out --out work/model.json

The speech comes from `python -m recipes.demo_model.data --held-out`. All scores go to the terminal and to `--out`. With
several folders of speech, the scores are stored by the name of the folder.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoProcessor, CsmForConditionalGeneration, MimiModel

from recipes.demo_model import judges, phonemes, phonetic, speech
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.export import load_codec, temper
from recipes.demo_model.speech import Sentence

Samples = NDArray[np.float32]
Scores = dict[str, float]
Item = TypeVar("Item")

MAX_FRAMES = 125


def judge_codec(codec: MimiModel, sentences: Sequence[Sentence], limit: int = 0) -> Scores:
    """Encode and decode each sentence; compare words and voice with those of the original."""
    rows = []
    for sentence in evenly(sentences, limit):
        original = speech.load(sentence)
        again = resynthesise(codec, original, phonemes.timeline(sentence.phonemes, sentence.durations))
        rows.append(
            {
                "wer_original": judges.heard_error_rate(sentence.text, original, SAMPLE_RATE),
                "wer": judges.heard_error_rate(sentence.text, again, SAMPLE_RATE),
                "similarity": judges.similarity(original, again, SAMPLE_RATE),
                "naturalness_original": judges.naturalness(original, SAMPLE_RATE),
                "naturalness": judges.naturalness(again, SAMPLE_RATE),
            }
        )
        _show(sentence, rows[-1])
    return average(rows)


def judge_model(
    folder: Path,
    sentences: Sequence[Sentence],
    limit: int = 0,
    seed: int = 0,
    temperatures: tuple[float, float] | None = None,
) -> Scores:
    """Clone held-out voices; compare each clone with its own reference, another speaker's, and no reference."""
    rows = []
    speaker = Cloner(folder, temperatures)
    for own, target, stranger in evenly(list(trials(sentences, seed)), limit):
        reference, other = speech.load(own), speech.load(stranger)
        cloned = speaker.say(target.text, own.text, reference, seed)
        alone = speaker.say(target.text, None, None, seed)
        prints = [judges.voice_print(sound, SAMPLE_RATE) for sound in (cloned, reference, other, alone)]
        to_own, to_other = float(prints[0] @ prints[1]), float(prints[0] @ prints[2])
        rows.append(
            {
                "wer": judges.heard_error_rate(target.text, cloned, SAMPLE_RATE),
                "similarity": to_own,
                "similarity_stranger": to_other,
                "similarity_without_reference": float(prints[3] @ prints[1]),
                "nearer_to_own": float(to_own > to_other),
                "naturalness": judges.naturalness(cloned, SAMPLE_RATE),
                "seconds": len(cloned) / SAMPLE_RATE,
            }
        )
        _show(target, rows[-1])
    return average(rows)


class Cloner:
    """Generate audio from a reference and a text with `transformers` alone."""

    def __init__(self, folder: Path, temperatures: tuple[float, float] | None = None) -> None:
        """Load a CSM; `temperatures` are for `temper`, if they are not those it was exported with."""
        self.model = CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        if temperatures:
            temper(self.model, *temperatures)
        self.processor = AutoProcessor.from_pretrained(folder)

    def say(self, text: str, transcript: str | None, reference: Samples | None, seed: int) -> Samples:
        """Return `text` spoken in the voice of `reference`, or in any voice without a reference."""
        turns = [] if reference is None else [_turn(transcript or "", reference)]
        prompt = self.processor.apply_chat_template([*turns, _turn(text)], tokenize=True, return_dict=True)
        torch.manual_seed(seed)
        codes = self.model.generate(**prompt, max_new_tokens=MAX_FRAMES)
        ended = (codes[0] == 0).all(-1).nonzero()
        codes = codes[:, : int(ended[0])] if len(ended) else codes
        if codes.shape[1] == 0:
            return np.zeros(SAMPLE_RATE, np.float32)
        with torch.inference_mode():
            sound = self.model.codec_model.decode(codes.transpose(1, 2)).audio_values
        return sound[0, 0].numpy()


def trials(sentences: Sequence[Sentence], seed: int) -> Iterator[tuple[Sentence, Sentence, Sentence]]:
    """Yield for each sentence: a reference by the same speaker, the sentence, and a reference by another speaker."""
    rng = np.random.default_rng(seed)
    for target in sentences:
        own = [one for one in sentences if one.speaker == target.speaker and one.text != target.text]
        strangers = [one for one in sentences if one.speaker != target.speaker and one.text != target.text]
        yield own[rng.integers(len(own))], target, strangers[rng.integers(len(strangers))]


@torch.inference_mode()
def resynthesise(codec: MimiModel, samples: Samples, line: phonemes.Labels) -> Samples:
    """Encode and decode samples, with the codes that a model should say."""
    codes, _ = phonetic.encode(codec, samples, line)
    return codec.decode(codes.T[None]).audio_values[0, 0, : len(samples)].numpy()


def evenly(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """Return at most `limit` items, evenly spread; all if `limit` is 0."""
    return items[:: -(-len(items) // limit)] if limit else items


def average(rows: Sequence[Scores]) -> Scores:
    """Return the means over the rows, rounded to three digits."""
    means = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    return means | {"trials": float(len(rows))}


def main() -> None:
    """Score a codec or a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("codec", "model"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="held-out speech")
    parser.add_argument("--limit", type=int, default=0, help="score at most this many, evenly chosen; 0: all")
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs=2,
        metavar=("FIRST", "OTHERS"),
        help="of a model, as in export; without, the model is judged as it is",
    )
    parser.add_argument("--out", type=Path, help="JSON file for the scores")
    arguments = parser.parse_args()
    scores = {}
    for folder in arguments.speech:
        sentences = speech.read_index(folder)
        if arguments.what == "codec":
            scores[folder.name] = judge_codec(load_codec(arguments.folder), sentences, arguments.limit)
        else:
            scores[folder.name] = judge_model(
                arguments.folder, sentences, arguments.limit, temperatures=arguments.temperatures
            )
        print(folder.name, json.dumps(scores[folder.name]), flush=True)
    if arguments.out:
        content = scores if len(scores) > 1 else scores[arguments.speech[0].name]
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")


def _turn(text: str, sound: Samples | None = None) -> dict[str, object]:
    content: list[dict[str, object]] = [{"type": "text", "text": text}]
    return {"role": "0", "content": content if sound is None else [*content, {"type": "audio", "path": sound}]}


def _show(sentence: Sentence, row: Scores) -> None:
    print(sentence.path.stem, sentence.speaker, {name: round(value, 2) for name, value in row.items()}, flush=True)


if __name__ == "__main__":
    main()
