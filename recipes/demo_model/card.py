"""The model card that is written into a checkpoint's folder."""

RANDOM_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-to-speech
---
# Demo checkpoint: random language model, small trained codec

**This model answers noise.** Its language model (backbone and depth decoder) has random weights: it exercises the whole
service, offline and in seconds, and says nothing. It is not CSM-1B, and no sound it makes tells anything about CSM-1B.

| part | size | weights |
|---|---|---|
| backbone | 6 layers, width 320, 6 heads / 2 key-value heads of 64 | random, seed 0 |
| depth decoder | 3 layers, width 192, 4 heads / 2 key-value heads of 64 | random, seed 0 |
| codec (`MimiModel`) | 16 codebooks of 512 codes, 12.5 frames per second, 24 kHz | trained |
| text | UTF-8 bytes, lower case, and CSM's special tokens | |

The classes, the prompt format and the file layout are those of `sesame/csm-1b`: `CsmForConditionalGeneration`,
`MimiModel`, `CsmProcessor`. float16, in shards of less than 16 MB.

## The codec
Trained from scratch for 7,888 steps of 12 x 0.8 s on 37 minutes of synthetic English speech (Kokoro-82M, Apache-2.0, 24
voices and mixes of them, and a little flite), with spectral and waveform losses only. On held-out voices its
re-synthesis is transcribed with a word error rate of 6 %; the similarity of the speaker to the original is .66 to .71.
The codec was trained before this repository's recipe existed, by the same means.

## Made with
`python -m recipes.demo_model.initialise` (see `recipes/demo_model`).
"""
