"""Verify an installation: compare files, token ids and codes of CSM-1B with known values; measure speed and memory.

The settings are the server's: CSM_MODEL, CSM_REVISION, CSM_DEVICE, CSM_PRECISION, CSM_CACHE_DIR, and HF_TOKEN. The exit
status is 0 if nothing failed, 1 if a check failed, and 2 if the settings are wrong.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm.engine.devices import Placement, place
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.model.checkpoint import open_checkpoint
from csm.settings import Settings, SettingsError, load
from csm.verify.checks import check_agreement, check_codes, check_encoder, check_prompt
from csm.verify.examine import LOOPBACK, Job, examine_in_subprocess
from csm.verify.files import Weights, check_files
from csm.verify.golden import Golden
from csm.verify.report import Finding, Report, Result, hardware, say, versions

ON_CPU = ("float32", "bfloat16", "int8", "int4")
"""Precisions to examine on a CPU; on other devices, float32 and the one that the server would use."""

TEXT, FRAMES = "The quick brown fox jumps over the lazy dog.", 10
"""What to generate with a model that has no known values, and how many frames of it."""


Examine = Callable[[Job], dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What to verify.

    Attributes:
        settings: of the server.
        golden: known values; None for those of CSM-1B, if the checkpoint is CSM-1B.
        precisions: to examine; empty for all that the device runs.
        timed_frames: number of frames for the measurement of speed.
        recording: file whose codes are known; None to look for it where the checkpoint comes from.
        thorough: whether to hash gigabytes of weights.
    """

    settings: Settings
    golden: Golden | None = None
    precisions: Sequence[str] = ()
    timed_frames: int = 25
    recording: Path | None = None
    thorough: bool = False


def verify(plan: Plan, report: Report, examine: Examine = examine_in_subprocess) -> bool:
    """Run all checks; return whether none failed.

    Args:
        plan: what to verify.
        report: to add the findings to.
        examine: loads and tests one precision.
    """
    settings = plan.settings
    try:
        placement = place(settings)
        folder = hub.fetch(settings)
        golden = plan.golden or Golden.from_settings(settings, folder)
        known_files = golden if golden and (plan.golden or golden.has_files_of(settings, folder)) else None
        files, weights = check_files(folder, known_files, plan.thorough)
        report.add(files)
        report.add(check_prompt(open_checkpoint(folder), golden))
    except ModelUnavailable as error:
        report.add(Finding("model", "failed", str(error)))
    else:
        _examine_all(plan, report, examine, placement, folder, golden, weights)
    return report.finish()


def _examine_all(
    plan: Plan,
    report: Report,
    examine: Examine,
    placement: Placement,
    folder: Path,
    golden: Golden | None,
    weights: Weights,
) -> None:
    """Examine the precisions one after the other, float32 first."""
    recording = _recording(plan, report, folder, golden)
    speech: Mapping[str, Any] = golden.speech if golden else {"role": "0", "text": TEXT}
    known: list[list[int]] | None = speech.get("frames")
    frames = len(known) if known else FRAMES
    usual = ON_CPU if placement.device.type == "cpu" else ("float32", placement.precision)
    for precision in dict.fromkeys(plan.precisions or (*usual, placement.precision)):
        say(f"examining {precision}" + ("; the first time, it is prepared for minutes" if "int" in precision else ""))
        turn = speech["role"], speech["text"]
        job = Job(str(folder), str(placement.device), precision, *turn, known, frames, plan.timed_frames, recording)
        try:
            answer = examine(job)
        except ModelUnavailable as error:
            # The precision that the server would use must work; others may be too large for this machine.
            result: Result = "failed" if precision == placement.precision else "not checked"
            report.add(Finding(f"agreement in {precision}", result, str(error)))
            continue
        for notice in answer["speed"]["notices"]:
            say(f"{precision}: {notice}")
        if recording and golden:
            report.add(check_encoder(answer["encoded"], golden))
            recording = None
        if precision == "float32":
            report.add(check_codes(answer["said"], golden, weights))
            known = known or answer["said"]
        share = answer["agreement"] if known is not None else None
        report.speeds.append({"precision": precision, "agreement": share} | answer["speed"])
        report.add(check_agreement(precision, share, golden, weights))


def _recording(plan: Plan, report: Report, folder: Path, golden: Golden | None) -> str | None:
    """Find the recording whose codes are known, or report why there is none."""
    name = golden.encoder.get("audio") if golden else None
    if golden is None or name is None:
        report.add(Finding("encoder", "not checked", "no recording is known with this model's codes"))
        return None
    if plan.recording or (folder / name).is_file():
        return str(plan.recording or folder / name)
    if plan.settings.model == golden.repository:
        try:
            return str(hub.fetch_file(plan.settings, name))
        except ModelUnavailable as error:
            report.add(Finding("encoder", "not checked", f"{name} cannot be had: {error}"))
            return None
    report.add(Finding("encoder", "not checked", f"give {name} of {golden.repository} with --audio"))
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the model that the command line and the settings select; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m csm.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = ("float32", "bfloat16", "float16", "int8", "int4")
    parser.add_argument("--model", help="repository, folder or `demo`, in place of CSM_MODEL")
    parser.add_argument(
        "--precision", nargs="+", choices=choices, default=(), help="to examine; all that run, if unset"
    )
    parser.add_argument("--frames", type=int, default=25, help="whose speed is measured (80 ms of sound each)")
    parser.add_argument("--audio", type=Path, help="the recording that the known codes are of")
    parser.add_argument("--golden", type=Path, help="known values of another model, laid out as csm/assets/golden.json")
    parser.add_argument("--hash", action="store_true", help="also read through the weights: 7 GB")
    parser.add_argument("--out", type=Path, default=Path("csm-verify.json"), help="where the report goes")
    args = parser.parse_args(arguments)
    try:
        settings = load(host=LOOPBACK, engine="csm", **({"model": args.model} if args.model else {}))
    except SettingsError as error:
        print(f"csm.verify: {error}", file=sys.stderr)
        return 2
    local = hub.DEMO_FOLDER.name if settings.is_demo else Path(settings.model).name
    named = settings.model if not Path(settings.model).expanduser().is_dir() else local
    facts = {"model": named, "revision": settings.revision, "device": settings.device, "precision": settings.precision}
    try:
        report = Report(args.out, facts | {"hardware": hardware(), "versions": versions()})
        golden = Golden.load(args.golden) if args.golden else None
    except (OSError, ValueError, TypeError) as error:
        print(f"csm.verify: {error}: give other files with --out and --golden", file=sys.stderr)
        return 2
    plan = Plan(settings, golden, args.precision, args.frames, args.audio, args.hash)
    return 0 if verify(plan, report) else 1


if __name__ == "__main__":
    sys.exit(main())
