"""Find out in which codes the words get lost.

    python -m recipes.demo_model.diagnose work/csm/weights --speech work/test/kokoro --limit 12

Each trial is that of `evaluate model`, but the model is given the true codes of the target up to each frame. It prints
the loss of each code, and the word error rates of audio of which the first codes of every frame are the true ones and
the others are drawn from the model. With all of them true, this is the error of the codec alone. The row in which it
rises names the codebook that has not been learnt yet.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CsmForConditionalGeneration

from recipes.demo_model import judges, speech
from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.dialogue import Corpus, as_reference
from recipes.demo_model.evaluate import average, evenly, trials
from recipes.demo_model.model_trainer import embed
from recipes.demo_model.speech import Sentence
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import encode

TOP_K = 50


@torch.inference_mode()
def diagnose(
    model: CsmForConditionalGeneration, own: Sentence, target: Sentence, temperature: float
) -> dict[str, float]:
    """Return the loss of each code, in nats, and the word error rate for each number of true codes.

    Args:
        model: to diagnose.
        own: reference, by the same speaker.
        target: what is said.
        temperature: of the draws; 0 takes the most likely codes.
    """
    hidden, codes = states(model, own, target)
    logits = [model.lm_head(hidden), *_depth_logits(model, hidden, codes[:, :-1]).unbind(1)]
    row = {f"loss {index + 1}": F.cross_entropy(of, codes[:, index]).item() for index, of in enumerate(logits)}
    for known in range(codes.shape[1], -1, -1):
        drawn = complete(model, hidden, codes[:, :known], temperature)
        sound = model.codec_model.decode(drawn.T[None]).audio_values[0, 0].numpy()
        row[f"wer, {known} true"] = judges.heard_error_rate(target.text, sound, SAMPLE_RATE)
    return row


def states(model: CsmForConditionalGeneration, own: Sentence, target: Sentence) -> tuple[Tensor, Tensor]:
    """Return the backbone's states `[frames, hidden]` before each frame of the target, and its codes."""
    spoken = encode(model.codec_model, [own, target])
    corpus = Corpus(spoken, make_tokenizer())
    turns = corpus.turn(as_reference(spoken[:1])), corpus.turn(spoken[1])
    rows = torch.from_numpy(np.concatenate([turn.rows for turn in turns]))
    hidden = model.backbone_model(inputs_embeds=embed(model, rows[None]), use_cache=False).last_hidden_state[0]
    codes = torch.from_numpy(spoken[1].codes.astype(np.int64))
    return hidden[-2 - len(codes) : -2], codes  # a state predicts the next row, and the last row ends the turn


def complete(model: CsmForConditionalGeneration, hidden: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Return `[frames, codebooks]`: the first codes of each frame as given, the others drawn one by one."""
    while codes.shape[1] < model.config.num_codebooks:
        known = codes.shape[1]
        logits = _depth_logits(model, hidden, codes)[:, -1] if known else model.lm_head(hidden)
        codes = torch.cat([codes, _draw(logits, temperature, model.config.codec_config.codebook_size)], 1)
    return codes


def main() -> None:
    """Print the means over all trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speech", type=Path, required=True, help="held-out speech")
    parser.add_argument("--limit", type=int, default=12, help="number of trials; 0: all")
    parser.add_argument("--temperature", type=float, default=0.9)
    arguments = parser.parse_args()
    model = CsmForConditionalGeneration.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    chosen = evenly(list(trials(speech.read_index(arguments.speech), seed=0)), arguments.limit)
    torch.manual_seed(0)
    _show([diagnose(model, own, target, arguments.temperature) for own, target, _ in chosen])


def _depth_logits(model: CsmForConditionalGeneration, hidden: Tensor, codes: Tensor) -> Tensor:
    """Return the logits `[frames, known codes, codes]` of the codes after each of the known ones."""
    ids = F.pad(codes, (1, 0))
    logits: Tensor = model.depth_decoder(input_ids=ids, backbone_last_hidden_state=hidden, use_cache=False).logits
    return logits


def _draw(logits: Tensor, temperature: float, codes: int) -> Tensor:
    """Return one code for each frame, `[frames, 1]`; special codes are never drawn."""
    likeliest, which = logits[:, :codes].topk(min(TOP_K, codes))
    if temperature == 0:
        return which[:, :1]
    return which.gather(1, torch.multinomial((likeliest / temperature).softmax(-1), 1))


def _show(rows: Sequence[dict[str, float]]) -> None:
    for name, value in average(rows).items():
        print(f"{name:14} {value:g}")


if __name__ == "__main__":
    main()
