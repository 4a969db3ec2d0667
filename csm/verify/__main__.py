"""Is this installation right? Files, token ids and codes of CSM-1B against known values; speed and memory here.

The settings are the server's: CSM_MODEL, CSM_REVISION, CSM_DEVICE, CSM_PRECISION, CSM_CACHE_DIR, and HF_TOKEN. The exit
status is 0 where nothing failed, 1 where something did, and 2 where the settings are wrong.
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
from csm.verify.examine import LOOPBACK, Job, examine_apart
from csm.verify.files import Weights, check_files
from csm.verify.golden import Golden
from csm.verify.report import Finding, Report, Result, hardware, say, versions

ON_CPU = ("float32", "bfloat16", "int8", "int4")
"""What is examined on a CPU; on other devices, float32 and what the server would take there."""

TEXT, FRAMES = "The quick brown fox jumps over the lazy dog.", 10
"""What a model says of which nothing is known, and how many frames of it."""


Examine = Callable[[Job], dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What to verify.

    Attributes:
        settings: of the server.
        golden: known values; None takes CSM-1B's, where the checkpoint is CSM-1B.
        precisions: to examine; none for all that the device runs.
        timed_frames: whose speed is measured.
        recording: of which codes are known; None looks for it where the checkpoint comes from.
        thorough: whether gigabytes of weights are hashed.
    """

    settings: Settings
    golden: Golden | None = None
    precisions: Sequence[str] = ()
    timed_frames: int = 25
    recording: Path | None = None
    thorough: bool = False


def verify(plan: Plan, report: Report, examine: Examine = examine_apart) -> bool:
    """Make all checks; return whether none failed.

    Args:
        plan: what to verify.
        report: to add the findings to.
        examine: loads and tries one precision.
    """
    settings = plan.settings
    try:
        placement = place(settings)
        folder = hub.fetch(settings)
        golden = plan.golden or Golden.of(settings, folder)
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
    """Examine one precision after the other, the exact one first."""
    recording = _recording(plan, report, folder, golden)
    speech: Mapping[str, Any] = golden.speech if golden else {"role": "0", "text": TEXT}
    known: list[list[int]] | None = speech.get("frames")
    frames = len(known) if known else FRAMES
    usual = ON_CPU if placement.device.type == "cpu" else ("float32", placement.precision)
    for precision in dict.fromkeys(plan.precisions or (*usual, placement.precision)):
        say(f"examining {precision}" + ("; the first time, it is prepared for minutes" if "int" in precision else ""))
        told = speech["role"], speech["text"], known, frames, plan.timed_frames, recording
        job = Job(str(folder), str(placement.device), precision, *told)
        try:
            answer = examine(job)
        except ModelUnavailable as error:
            # What the server would run with must run; the rest may be too large for this machine.
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
    """Find the recording of which codes are known, or report why there is none."""
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
    """Verify what the command line and the settings name; return the exit status."""
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
