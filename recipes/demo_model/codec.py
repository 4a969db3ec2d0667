"""Stage b: train the codec, a small `MimiModel`, to encode and decode speech.

    python -m recipes.demo_model.codec --speech work/speech --out work/codec --steps 20000 --adversarial-from 12000

If it is stopped, even by SIGTERM, the same command continues. `work/codec/weights` is the codec so far.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import phonetic, recordings, speech
from recipes.demo_model.architecture import FRAME_RATE
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.coded import CodedSounds, encoded_once
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.progress import Progress, RunFailed
from recipes.demo_model.recordings import Recording, Variety
from recipes.demo_model.resize import new_codec, widened, with_codebooks
from recipes.demo_model.sounds import Sounds, Source
from recipes.demo_model.speakers import SpeakerEncoder
from recipes.demo_model.training import (
    Checkpoint,
    bfloat16_pays,
    choose_device,
    common_arguments,
    compute_exactly,
    limits,
    many_shapes,
    run,
)


def train(trainer: CodecTrainer, sounds: Source, unheard: list[Recording], out: Path, progress: Progress) -> int:
    """Continue from the last checkpoint until `progress` ends the run; return the total number of steps."""
    checkpoint = trainer.checkpoint(out / "state.pt")
    return run(
        checkpoint,
        progress,
        lambda step: trainer.step(step, sounds),
        lambda step: _save(trainer, checkpoint, step, unheard, out),
    )


def main() -> None:
    """Train the codec."""
    arguments = _parse()
    device = choose_device(arguments.device)
    plan = Plan(
        batch=arguments.batch,
        frames=arguments.frames,
        steps=arguments.steps,
        peak=arguments.peak,
        quantised=arguments.quantised,
        adversarial_from=arguments.adversarial_from,
        pronunciation=arguments.pronunciation,
        phonetic=arguments.phonetic,
        likeness=arguments.likeness,
        encoder_steps=0 if arguments.decoder_alone else arguments.encoder_steps,
        variety=recordings.NONE if arguments.unvaried else Variety(),
        bfloat16=bfloat16_pays(device) and not arguments.float32,
        seed=arguments.seed,
    )
    codec = _codec(arguments).to(device)
    sounds = _coded(arguments, codec, plan) if arguments.decoder_alone else _all(arguments.speech, device)
    unheard = [recordings.load(one) for one in speech.read_index(arguments.held_out)] if arguments.held_out else []
    progress = Progress(
        plan.steps, arguments.minutes, save_every=arguments.save_every, limits=limits(arguments, "spectral")
    ).stop_on_sigterm()
    trainer = CodecTrainer(codec, plan, device, _known_voices(arguments))
    try:
        done = train(trainer, sounds, unheard[::4], arguments.out, progress)
    except RunFailed as failure:
        raise SystemExit(f"given up: {failure}") from failure
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate codec ...")


def _codec(arguments: argparse.Namespace) -> MimiModel:
    codec = load_codec(arguments.start) if arguments.start else new_codec(arguments.seed)
    if arguments.codebooks:
        codec = with_codebooks(codec, arguments.codebooks)
    return widened(codec, arguments.widen, arguments.seed) if arguments.widen else codec


def _all(folders: Sequence[Path], device: torch.device) -> Sounds:
    sentences = speech.read_training(folders)
    print(f"{len(sentences)} sentences, {sum(one.seconds for one in sentences) / 60:.0f} minutes, on {device}")
    return Sounds((recordings.load(sentence) for sentence in sentences), device)


def _coded(arguments: argparse.Namespace, codec: MimiModel, plan: Plan) -> CodedSounds:
    path, copies = arguments.out / "codes.pt", arguments.decoder_alone
    compute_exactly()
    with many_shapes():
        rows = encoded_once(
            path, codec, arguments.speech, copies, plan.frames, plan.variety, plan.seed, arguments.voices
        )
    print(f"{len(rows['frames'])} recordings, {int(rows['frames'].sum()) / FRAME_RATE / 60:.0f} minutes", flush=True)
    return CodedSounds(**rows, device=codec.device)


def _known_voices(arguments: argparse.Namespace) -> Tensor | None:
    """Return what the codes of the voice should sound like, if they are those of speakers and are listened to."""
    if not (arguments.voices and arguments.likeness):
        return None
    sentences = speech.read_training(arguments.speech)
    codes = phonetic.read_voices(arguments.voices, {sentence.speaker for sentence in sentences})
    return SpeakerEncoder().of_codes(sentences, codes)


def _save(trainer: CodecTrainer, checkpoint: Checkpoint, step: int, unheard: list[Recording], out: Path) -> None:
    checkpoint.save(step)
    save_codec(trainer.saved(), out / "weights")
    if unheard:
        print(f"step {step}: voices never heard: spectral {trainer.validate(unheard):.3f}", flush=True)


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__, Plan.steps, Plan.batch, Plan.peak)
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="folders written by the data stage")
    parser.add_argument("--held-out", type=Path, help="the judges' speech: a quarter of it is scored at checkpoints")
    parser.add_argument("--start", type=Path, help="a codec to go on from when --out has no checkpoint yet")
    parser.add_argument("--codebooks", type=int, help="keep only this many of the codec's codebooks")
    parser.add_argument("--widen", type=int, metavar="FILTERS", help="give it more filters; its codes stay the same")
    parser.add_argument("--frames", type=int, default=Plan.frames, help="length of a clip, in frames of 80 ms")
    parser.add_argument("--quantised", type=float, default=Plan.quantised, help="share heard through the codebooks")
    parser.add_argument("--adversarial-from", type=int, help="step at which the discriminator joins")
    parser.add_argument("--pronunciation", type=float, default=Plan.pronunciation, help="weight of the loss on sounds")
    parser.add_argument("--phonetic", type=float, default=Plan.phonetic, help="weight of the phonemes recognised")
    parser.add_argument("--likeness", type=float, default=Plan.likeness, help="weight of the likeness of voices")
    parser.add_argument("--encoder-steps", type=int, help="from this step on train the decoder alone: codes are final")
    parser.add_argument(
        "--decoder-alone",
        type=int,
        metavar="COPIES",
        help="from the start, on codes that are made once of so many copies; of one each if the codec is phonetic",
    )
    parser.add_argument("--voices", type=Path, help="with --decoder-alone: the code of each speaker, a file by settle")
    parser.add_argument("--unvaried", action="store_true", help="take clips as they are, without making new voices")
    arguments = parser.parse_args()
    if arguments.voices and not arguments.decoder_alone:
        parser.error("--voices needs --decoder-alone, since codes must be final before speakers have them")
    return arguments


if __name__ == "__main__":
    main()
