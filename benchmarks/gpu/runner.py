"""Run each stage in its own process and with a time limit, and write all results so far to a file."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.gpu.notes import put

MIN_STAGE_SECONDS = 20.0
"""With less time left, a stage is not started, since it would be stopped before it reports anything."""


class Report:
    """The results so far, in a JSON file that is complete at any moment.

    Args:
        path: of the file.
        head: facts about the run; written first.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path, self.content = path, head | {"stages": {}}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.save()

    def stage(self, name: str) -> dict[str, Any]:
        """Return the entry of one stage."""
        entry: dict[str, Any] = self.content["stages"].setdefault(name, {"status": "running", "results": {}})
        return entry

    def save(self) -> None:
        """Write the file under another name, then rename it, so that readers never see a partial file."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1))
        partial.replace(self.path)


class Runner:
    """Run stages, each within its own time limit or the rest of the total, whichever is less.

    Args:
        report: to add the results to.
        seconds: time limit of all stages together.
        command: runs a stage; name, time limit and time of day are appended.
    """

    def __init__(self, report: Report, seconds: float, command: Sequence[str]) -> None:
        self._report, self._command, self._end = report, command, monotonic() + seconds

    def run(self, name: str, limit: float) -> str:
        """Run one stage and return its status; a failure does not affect the next stage."""
        entry, limit, began = self._report.stage(name), min(limit, self._end - monotonic()), monotonic()
        if limit < MIN_STAGE_SECONDS:
            entry["status"] = f"not run: {max(limit, 0):.0f} s were left"
        else:
            command = [*self._command, name, f"{limit:.1f}", f"{time.time():.3f}"]
            entry["status"] = self._supervise(entry, command, limit)
            entry["seconds"] = round(monotonic() - began, 1)
        self._report.save()
        return str(entry["status"])

    def _supervise(self, entry: dict[str, Any], command: Sequence[str], limit: float) -> str:
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=offline)
        reader = threading.Thread(target=self._listen, args=(process, entry), daemon=True)
        reader.start()
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            # A process that hangs in a driver may even survive SIGKILL.
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            reader.join(5)
            return f"stopped after {limit:.0f} s"
        reader.join(5)
        if code == 0:
            failed = _failed_parts(entry["results"])
            return "done" if not failed else f"done, but failed in part: {', '.join(failed)}"
        return entry.pop("failure", None) or f"failed: the process ended with {code}"

    def _listen(self, process: "subprocess.Popen[str]", entry: dict[str, Any]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                name, value = json.loads(line)
                put(entry if name == "failure" else entry["results"], name, value)
                self._report.save()


def _failed_parts(results: dict[str, Any], inside: str = "") -> list[str]:
    """Return the names of the parts that `Notes.part` recorded as failed."""
    found = []
    for name, value in results.items():
        if isinstance(value, dict):
            path = f"{inside}{name}"
            found += [path] if "failed" in value and isinstance(value["failed"], str) else []
            found += _failed_parts(value, f"{path}.")
    return found


def stage_command(device: str, options: Sequence[str]) -> list[str]:
    """Return the command line of `benchmarks.gpu.stage`, without the arguments of the stage."""
    return [sys.executable, "-m", "benchmarks.gpu.stage", "--device", device, *options]
