"""Write the model card of a checkpoint."""

from collections.abc import Mapping
from typing import Any

HEADER = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-to-speech
---
"""

RANDOM = """\
# Demo checkpoint: random language model, small trained codec

**This model generates noise.** Its language model (backbone and depth decoder) has random weights. It serves to run
every part of the server offline and in seconds, and cannot speak. It is not CSM-1B, and its audio says nothing about
the quality of CSM-1B.
"""

TRAINED = """\
# Demo checkpoint: a small CSM trained from scratch

**This is not the quality of CSM-1B.** The model has CSM's architecture, is about a hundred times smaller, and was
trained on synthetic speech only. It serves to hear the server and to measure its voice cloning offline. It speaks
slowly and in a monotone, in the one of some 180 known voices that is most like the reference. Its audio says nothing
about the quality of CSM-1B.
"""

ORIGINS = """
The classes, the prompt format and the file layout are those of `sesame/csm-1b`: `CsmForConditionalGeneration`,
`MimiModel`, `CsmProcessor`. The weights are float16, in shards of less than 16 MB. The model is for English only.

## Data and licence
The training data is synthetic English speech. The texts are WordNet's example sentences and definitions. The speakers
are the voices of Kokoro-82M (Apache-2.0) and mixes of them; Piper's voice "joe", whose own recordings are CC0; and
flite. The voices af_kore, am_eric, bf_lily and bm_lewis were kept out of the training. No person was recorded for it.
CAM++ (Apache-2.0), a speaker encoder, told the codec which voices are alike; none of its weights are in here. The
weights are licensed under Apache-2.0.

## How it was made
With `recipes/demo_model` in the repository. The training of the codec started from weights that had been trained before
the recipe existed, in the same way: 7,888 steps of 12 x 0.8 s on 37 minutes of speech, without a discriminator.
"""

USE = """
## Use
Clone a voice only if its speaker has agreed to it.
"""


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the model card for the facts in `demo.json`."""
    opening = TRAINED if facts["trained"] else RANDOM
    steps = facts.get("codec_steps", 0)
    went_on = f"The codec stage of the recipe added {steps:,} steps.\n" if steps else ""
    missed = f"\nThe recipe's gate asks for {facts['missed']}, which this model misses.\n" if "missed" in facts else ""
    return HEADER + opening + _shape(facts["shape"]) + ORIGINS + went_on + _scores(facts["scores"]) + missed + USE


def _shape(parts: Mapping[str, str]) -> str:
    rows = "".join(f"| {part.replace('_', ' ')} | {size} |\n" for part, size in parts.items())
    return f"\n| part | size |\n|---|---|\n{rows}"


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table for each scored part."""
    parts = {"codec": "The codec, re-synthesising", "model": "The model, cloning"}
    tables = [_table(parts[name], values) for name, values in scores.items()]
    return "".join(["\n## Scores on held-out voices and sentences\n", *tables]) if tables else ""


def _table(title: str, values: Mapping[str, Any]) -> str:
    """Return a table with a row for each score and, if there are several, a column for each source of speech."""
    sources = values if isinstance(next(iter(values.values())), Mapping) else {"": values}
    names = list(next(iter(sources.values())))
    rows = [[title, *sources], ["---"] * (1 + len(sources))]
    rows += [[name.replace("_", " "), *(f"{one[name]:g}" for one in sources.values())] for name in names]
    return "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
