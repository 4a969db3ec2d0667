"""Checks of what a model does against known values; each gives one finding."""

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

LEAST_FRAMES = 3
"""Leading frames that must be equal in float32. Rounding may flip one code of the hundreds, and all after it differ."""

LEAST_AGREEMENT = {"float32": 0.97, "bfloat16": 0.75, "float16": 0.75, "int8": 0.6, "int4": 0.2}
"""Share of likeliest codes, which tells a broken model, whose codes agree by chance, from a rounded one, and no more.

None of these bounds has been measured on CSM-1B's weights. Random weights of its size reach 1 in float32, 0.95 in
bfloat16 and 0.81 in int8; the demo model 0.5 in int4.
"""

LEAST_ENCODED = 0.75
"""Share of a recording's codes: another resampler moves sounds that lie between two codes."""


def check_prompt(checkpoint: Checkpoint, golden: Golden | None) -> Finding:
    """Compare our token ids with the known ones, and with the chat template that comes with the checkpoint."""
    found: dict[str, bool] = {}
    if golden:
        turn = Turn(golden.prompt["role"], golden.prompt["text"])
        found["known ids"] = text_ids(turn, checkpoint.tokenizer) == golden.prompt["ids"]
    try:
        found["chat template"] = _template_agrees(checkpoint)
    except Exception as error:
        # Whatever a template that others wrote may raise; the server itself does without it.
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
    """Build a prompt with a second of silence in it both ways."""
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
    """Count the leading frames, said greedily in float32, that equal the known ones code for code."""
    if golden is None:
        return Finding("codes", "not checked", "nothing is known of what this model says")
    known = golden.speech["frames"]
    same = leading(said, known)
    values = {"equal_frames": same, "known_frames": len(known), "said": said}
    told = f"{same} of {len(known)} leading frames equal those of {golden.name}"
    if same >= min(LEAST_FRAMES, len(known)):
        return Finding("codes", "passed", told, values)
    if weights.rounded:
        detail = f"{told}; the weights are stored in {'/'.join(sorted(weights.dtypes))}: see how their codes agree"
        return Finding("codes", "not checked", detail, values)
    remedy = "these are not the published weights, or they are damaged: fetch them again"
    return Finding("codes", "failed", f"{told}; {remedy}", values)


def check_agreement(precision: str, share: float | None, golden: Golden | None, weights: Weights) -> Finding:
    """Judge how often the likeliest code is the known one, or float32's where nothing is known."""
    check = f"agreement in {precision}"
    if share is None:
        return Finding(check, "not checked", "there is nothing to agree with: examine float32 first")
    least = LEAST_AGREEMENT["bfloat16" if precision == "float32" and golden and weights.rounded else precision]
    told = f"{share:.1%} of likeliest codes are those of {golden.name if golden else 'float32'}"
    if share >= least:
        return Finding(check, "passed", told, {"share": share, "least": least})
    remedy = "fetch the weights again; if that changes nothing, report it with the file below"
    return Finding(check, "failed", f"{told}, at least {least:.0%} should be: {remedy}", {"share": share})


def check_encoder(encoded: list[list[int]], golden: Golden) -> Finding:
    """Compare the first codes of the known recording with the known ones."""
    pairs = [
        (frame[book], code)
        for book, known in enumerate(golden.encoder["codebooks"])
        for frame, code in zip(encoded, known, strict=False)
    ]
    same, total, frames = sum(a == b for a, b in pairs), len(pairs), golden.encoder["frames"]
    told = f"{same} of {total} codes of the recording equal the known ones, in {len(encoded)} of {frames} frames"
    values = {"equal": same, "known": total, "frames": len(encoded)}
    if total and same >= LEAST_ENCODED * total and len(encoded) == frames:
        return Finding("encoder", "passed", told, values)
    remedy = f"check that the recording is {golden.encoder['audio']} of {golden.repository}"
    return Finding("encoder", "failed", f"{told}: {remedy}; if it is, fetch the weights again", values)
