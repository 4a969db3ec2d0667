"""Stage d: train the model to speak a text in the voice of the turn before.

    python -m recipes.demo_model.train --codec work/codec/weights --tokens work/tokens/*.npz --out work/csm

With `torchrun --nproc-per-node 2 -m` instead of `python -m`, two processes share the work. If the run is stopped, even
by SIGTERM, the same command continues. `work/csm/weights` is a complete checkpoint of the model so far.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

from transformers import CsmForConditionalGeneration, MimiModel

from recipes.demo_model import tokens
from recipes.demo_model.architecture import SIZES
from recipes.demo_model.batches import Batches, Draws
from recipes.demo_model.dialogue import Corpus, Diet, split
from recipes.demo_model.export import export, facts_of, load_codec, load_to_train
from recipes.demo_model.initialise import initialise, with_codec
from recipes.demo_model.model_trainer import Plan, Trainer
from recipes.demo_model.processes import Processes
from recipes.demo_model.progress import Progress, RunFailed
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.training import (
    Checkpoint,
    bfloat16_pays,
    choose_device,
    common_arguments,
    limits,
    run,
)


def train(
    trainer: Trainer, batches: Batches, unheard: Corpus | None, codec: MimiModel, out: Path, progress: Progress
) -> int:
    """Continue from the last checkpoint until `progress` ends the run; return the total number of steps.

    Args:
        trainer: of the model.
        batches: to train on.
        unheard: to validate on, or None.
        codec: for the checkpoint; its decoder may be newer than the trainer's.
        out: folder for state and weights.
        progress: to report to.
    """
    checkpoint = trainer.checkpoint(out / "state.pt")
    return run(
        checkpoint,
        progress,
        lambda step: trainer.step(step, batches),
        lambda step: _save(trainer, checkpoint, step, unheard, codec, out),
        trainer.processes,
    )


def main() -> None:
    """Train the model."""
    arguments = _parse()
    processes = Processes.join()
    device = choose_device(arguments.device, processes.rank)
    plan = Plan(
        batch=arguments.batch,
        steps=arguments.steps,
        peak=arguments.peak,
        guide=arguments.guide,
        bfloat16=bfloat16_pays(device) and not arguments.float32,
        seed=arguments.seed,
    )
    codec = load_codec(arguments.codec)
    heard, unheard = split(tokens.read(arguments.tokens, codec.config.num_quantizers))
    diet = _diet(arguments)
    corpus = Corpus(heard, make_tokenizer(), diet)
    validation = Corpus(unheard, make_tokenizer(), replace(diet, unspoken=False)) if unheard else None
    sizes = f"{len(corpus.order)} sentences by {len(corpus.groups)} speakers"
    print(f"{sizes}, on {device}, process {processes.rank + 1} of {processes.count}", flush=True)
    trainer = Trainer(_model(arguments, codec), plan, device, processes)
    seed = plan.seed * processes.count + processes.rank  # each process draws other conversations
    batches = Batches(Draws(corpus, plan.batch, plan.steps, seed), arguments.workers)
    progress = Progress(
        plan.steps, arguments.minutes, save_every=arguments.save_every, limits=limits(arguments, "backbone")
    ).stop_on_sigterm()
    try:
        done = train(trainer, batches, validation, codec, arguments.out, progress)
    except RunFailed as failure:
        raise SystemExit(f"given up: {failure}") from failure
    print(f"{done} steps done; score it with: python -m recipes.demo_model.evaluate model ...")


def _model(arguments: argparse.Namespace, codec: MimiModel) -> CsmForConditionalGeneration:
    if not arguments.start:
        return initialise(codec, SIZES[arguments.size], arguments.seed)
    return with_codec(load_to_train(arguments.start), codec, arguments.seed)


def _save(
    trainer: Trainer, checkpoint: Checkpoint, step: int, unheard: Corpus | None, codec: MimiModel, out: Path
) -> None:
    checkpoint.save(step)
    best = copy.deepcopy(trainer.average.module).cpu()
    best.codec_model.load_state_dict(codec.state_dict())
    export(best, out / "weights", facts_of(best, trained=True, scores={}))
    if unheard:
        scores = "  ".join(f"{name} {value:.3f}" for name, value in trainer.validate(unheard).items())
        print(f"step {step}: voices never heard: {scores}", flush=True)


def _diet(arguments: argparse.Namespace) -> Diet:
    usual = Diet()
    diet = Diet(
        references=(usual.references[0], arguments.references),
        max_frames=(min(usual.max_frames[0], arguments.max_frames), arguments.max_frames),
        depth_share=arguments.depth_share,
        unspoken=arguments.unspoken,
    )
    if not arguments.start:
        return diet
    # A model that goes on needs no easy beginning.
    return replace(
        diet,
        references=(diet.references[1],) * 2,
        alone=(diet.alone[1],) * 2,
        max_frames=(diet.max_frames[1],) * 2,
    )


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__, Plan.steps, Plan.batch, Plan.peak)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="files written by the token stage")
    parser.add_argument(
        "--start", type=Path, help="a CSM to go on from; with another codec, all codes but the first are learnt anew"
    )
    parser.add_argument(
        "--size", choices=SIZES, default="demo", help="without --start; small takes half the time, tiny a quarter"
    )
    parser.add_argument("--references", type=int, default=Diet.references[1], help="sentences in the longest reference")
    parser.add_argument(
        "--longest", type=int, default=Diet.max_frames[1], help="maximum frames of a target", dest="max_frames"
    )
    parser.add_argument("--depth-share", type=float, default=Diet.depth_share, help="frames for the depth decoder")
    parser.add_argument("--unspoken", action="store_true", help="only texts of timings; the pace becomes theirs")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw batches ahead: for a GPU, 12")
    parser.add_argument("--guide", type=float, default=Plan.guide, help="weight of the attention loss; 0 is none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
