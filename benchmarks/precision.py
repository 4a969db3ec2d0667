"""`python -m benchmarks.precision`: measure how quantised weights change the distributions from which codes are drawn.

Codes are drawn in float32. Then, for each precision, the distribution of each code after the codes before it is
computed. For each precision, the mean KL divergence from the distribution in float32 is printed, and how often both
have the same most likely code.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
import torch
from torch import Tensor

from benchmarks.pairs import say
from csm.engine.openvino import export
from csm.engine.openvino.bundle import device_properties
from csm.model.backbone import Backbone, Embeddings, causal_mask
from csm.model.checkpoint import Checkpoint, open_checkpoint
from csm.model.conversation import Turn, text_ids
from csm.model.depth_decoder import DepthDecoder
from csm.model.hub import DEMO_FOLDER
from csm.model.kv_cache import FunctionalKVCache
from csm.model.sampling import RECENT_FRAMES, Rules, gumbel_noise
from csm.verify.agreement import graph_states

TEXT = "Precision is measured on a sentence of ordinary length."
TEMPERATURE, TOP_K, SEED = 0.9, 50, 0


@dataclass(frozen=True, eq=False)
class Speech:
    """Codes drawn in float32, with the inputs and logits of the model.

    Attributes:
        inputs: of the backbone, `[positions, dim]`: the prompt, then all frames except the last.
        start: position of the first frame's input.
        codes: `[frames, codebooks]`.
        logits: `[frames, codebooks, codes]`.
    """

    inputs: Tensor
    start: int
    codes: Tensor
    logits: Tensor


@torch.inference_mode()
def speak(
    checkpoint: Checkpoint, embeddings: Embeddings, backbone: Backbone, depth: DepthDecoder, frames: int
) -> Speech:
    """Draw frames in float32, as in a generation without a voice."""
    rules = Rules(
        temperature=torch.tensor([TEMPERATURE]),
        top_k=torch.tensor([TOP_K]),
        recent=torch.full((1, RECENT_FRAMES), -1),
        may_end=torch.tensor([True]),
        avoid_repeats=torch.tensor([False]),
    )
    ids = torch.tensor(text_ids(Turn("0", TEXT), checkpoint.tokenizer))
    inputs, cache, drawn, logits = embeddings.embed_text(ids), FunctionalKVCache(), [], []
    x, at = inputs, 0
    for frame in range(frames):
        positions = torch.arange(at, at + len(x))[None]
        hidden = backbone(x[None], positions, causal_mask(positions, at + len(x)), cache)[:, -1]
        at += len(x)
        # One draw more than codebooks: that of a repeated code, which is not used here.
        noise = gumbel_noise(torch.tensor([SEED]), torch.tensor([frame]), depth.codebooks + 1, depth.codebook_size)
        codes = depth(hidden, noise, rules, TOP_K)
        logits.append(depth.score(hidden, codes)[0])
        drawn.append(codes[0])
        x = embeddings.embed_frames(codes)
        inputs = torch.cat([inputs, x])
        say(f"float32: frame {frame + 1} of {frames}")
    return Speech(inputs[:-1], len(ids) - 1, torch.stack(drawn), torch.stack(logits))


class Quantised:
    """Backbone and depth decoder as the CPU runtime runs them.

    Args:
        backbone: to quantise.
        depth: to quantise.
        precision: `int8` or `int4`.
    """

    def __init__(self, backbone: Backbone, depth: DepthDecoder, precision: str) -> None:
        core = ov.Core()
        graphs = (export.backbone_graph(backbone), export.score_graph(depth))
        self._backbone, self._scores = (
            core.compile_model(export.quantise(graph, precision), "CPU", device_properties(precision))
            for graph in graphs
        )

    def logits(self, speech: Speech) -> Tensor:
        """Return the logits `[frames, codebooks, codes]`, each given the codes before it."""
        states = graph_states(self._backbone, speech.inputs, speech.start)
        return torch.from_numpy(self._scores([states.numpy(), speech.codes.numpy()])[0].copy())


def divergence(exact: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the mean KL divergence in nats, and how often both have the same most likely code."""
    p, q = (torch.log_softmax(logits / TEMPERATURE, dim=-1) for logits in (exact, other))
    kl = (p.exp() * (p - q)).sum(dim=-1).mean()
    return float(kl), float((exact.argmax(-1) == other.argmax(-1)).float().mean())


def main() -> None:
    """Generate speech, compare the precisions, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=DEMO_FOLDER, help="a folder; the demo by default")
    parser.add_argument("--frames", type=int, default=25)
    args = parser.parse_args()
    checkpoint = open_checkpoint(args.checkpoint)
    model = checkpoint.load(torch.float32, torch.device("cpu"))
    embeddings, depth, backbone = Embeddings.from_model(model), DepthDecoder(model), Backbone(model)
    speech = speak(checkpoint, embeddings, backbone, depth, args.frames)
    print("| precision | KL divergence, nats | same likeliest code |\n| --- | --- | --- |")
    for precision in ("float32", "int8", "int4"):
        say(f"compiling in {precision}")
        kl, same = divergence(speech.logits, Quantised(backbone, depth, precision).logits(speech))
        print(f"| {precision} | {kl:.2e} | {same:.1%} |", flush=True)


if __name__ == "__main__":
    main()
