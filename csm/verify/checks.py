"""Compare the results of a model with known values; each check returns one finding."""

from typing import Any

import numpy as np
from transformers import AutoProcessor

from csm.audio.waveform import Waveform
from csm.model.checkpoint import Checkpoint
from csm.model.conversation import Turn, input_ids, text_ids
from csm.verify.files import Weights
from csm.verify.golden import Golden
from csm.verify.report import Finding
from csm.verify.speaking import leading

MIN_FRAMES = 3
"""Number of leading frames that must be equal in float32. Rounding may flip one of hundreds of codes, after which all
codes differ."""

MIN_AGREEMENT = {"float32": 0.97, "bfloat16": 0.75, "float16": 0.75, "int8": 0.6, "int4": 0.2}
"""Minimum share of equal most likely codes. It only distinguishes a rounded model from a broken one, whose codes agree
by chance.

None of these limits has been measured with the weights of CSM-1B. Random weights of its size reach 1 in float32, 0.95
in bfloat16 and 0.81 in int8; the demo model reaches 0.5 in int4.
"""

MIN_ENCODED = 0.75
"""Minimum share of equal codes of a recording: another resampler changes the code of audio that lies between two."""


def check_prompt(checkpoint: Checkpoint, golden: Golden | None) -> Finding:
    """Compare the token ids of this package with the known ones and with those of the checkpoint's chat template."""
    found: dict[str, bool] = {}
    if golden:
        turn = Turn(golden.prompt["role"], golden.prompt["text"])
        found["known ids"] = text_ids(turn, checkpoint.tokenizer) == golden.prompt["ids"]
    try:
        found["chat template"] = _template_agrees(checkpoint)
    except Exception as error:
        # A template from a repository may raise anything. The server does not use it.
        template = f"; its chat template cannot be run ({type(error).__name__})"
    else:
        template = ""
    wrong = [name for name, equal in found.items() if not equal]
    if wrong:
        detail = f"token ids differ from the {' and the '.join(wrong)}: fetch the tokenizer's files again"
        return Finding("prompt", "failed", detail + template, found)
    if not found:
        return Finding("prompt", "not checked", "nothing is known of its token ids" + template)
    return Finding("prompt", "passed", f"token ids equal the {' and the '.join(found)}" + template, found)


def _template_agrees(checkpoint: Checkpoint) -> bool:
    """Return whether both ways build the same prompt, with a second of silence in it."""
    samples = np.zeros(checkpoint.config.codec_config.sampling_rate, np.float32)
    turns = [Turn("0", "What was heard.", Waveform(samples, len(samples))), Turn("0", "Say this, 1 2 3.")]
    content: list[list[dict[str, Any]]] = [[{"type": "text", "text": turn.text}] for turn in turns]
    content[0].append({"type": "audio", "path": samples})
    messages = [{"role": turn.role, "content": part} for turn, part in zip(turns, content, strict=True)]
    processor = AutoProcessor.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    theirs = processor.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"][0].tolist()
    config = checkpoint.config
    frames = -(-len(samples) // round(len(samples) / config.codec_config.frame_rate))
    ours = input_ids(turns, [frames], checkpoint.tokenizer, config.audio_token_id, config.audio_eos_token_id)
    return bool(ours == theirs)


def check_codes(said: list[list[int]], golden: Golden | None, weights: Weights) -> Finding:
    """Count the leading frames, generated greedily in float32, whose codes all equal the known ones."""
    if golden is None:
        return Finding("codes", "not checked", "nothing is known of what this model says")
    known = golden.speech["frames"]
    same = leading(said, known)
    values = {"equal_frames": same, "known_frames": len(known), "said": said}
    summary = f"{same} of {len(known)} leading frames equal those of {golden.name}"
    if same >= min(MIN_FRAMES, len(known)):
        return Finding("codes", "passed", summary, values)
    if weights.rounded:
        detail = f"{summary}; the weights are stored in {'/'.join(sorted(weights.dtypes))}: see how their codes agree"
        return Finding("codes", "not checked", detail, values)
    remedy = "these are not the published weights, or they are damaged: fetch them again"
    return Finding("codes", "failed", f"{summary}; {remedy}", values)


def check_agreement(precision: str, share: float | None, golden: Golden | None, weights: Weights) -> Finding:
    """Check how often the most likely code is the known one, or that of float32 if none is known."""
    check = f"agreement in {precision}"
    if share is None:
        return Finding(check, "not checked", "there is nothing to agree with: examine float32 first")
    minimum = MIN_AGREEMENT["bfloat16" if precision == "float32" and golden and weights.rounded else precision]
    summary = f"{share:.1%} of likeliest codes are those of {golden.name if golden else 'float32'}"
    if share >= minimum:
        return Finding(check, "passed", summary, {"share": share, "least": minimum})
    remedy = "fetch the weights again; if that changes nothing, report it with the file below"
    return Finding(check, "failed", f"{summary}, at least {minimum:.0%} should be: {remedy}", {"share": share})


def check_encoder(encoded: list[list[int]], golden: Golden) -> Finding:
    """Compare the first codes of the known recording with the known ones."""
    pairs = [
        (frame[book], code)
        for book, known in enumerate(golden.encoder["codebooks"])
        for frame, code in zip(encoded, known, strict=False)
    ]
    same, total, frames = sum(a == b for a, b in pairs), len(pairs), golden.encoder["frames"]
    summary = f"{same} of {total} codes of the recording equal the known ones, in {len(encoded)} of {frames} frames"
    values = {"equal": same, "known": total, "frames": len(encoded)}
    if total and same >= MIN_ENCODED * total and len(encoded) == frames:
        return Finding("encoder", "passed", summary, values)
    remedy = f"check that the recording is {golden.encoder['audio']} of {golden.repository}"
    return Finding("encoder", "failed", f"{summary}: {remedy}; if it is, fetch the weights again", values)
