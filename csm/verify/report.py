"""The report: a line on the terminal for each result, and a file to attach to a bug report."""

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

Result = Literal["passed", "failed", "not checked"]

PACKAGES = ("torch", "torchaudio", "transformers", "safetensors", "tokenizers", "openvino", "nncf", "numpy")
COLUMNS = {
    "precision": "precision",
    "agreement": "same likeliest code",
    "rtf": "RTF",
    "first_audio_seconds": "first audio, s",
    "load_seconds": "start, s",
    "resident_gb": "memory at most, GB",
    "cuda_gb": "CUDA memory, GB",
}
"""Columns of the table of speeds: name in the file, and heading on the terminal."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        result: `not checked` if the check could not be made.
        detail: one sentence; for a failure, with the remedy.
        values: on which the result is based.
    """

    check: str
    result: Result
    detail: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Report:
    """All findings. The file is rewritten after each, so that it is up to date even if the process is killed.

    Args:
        path: of the file.
        facts: about the installation; written first.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self._path, self._facts = path, {"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        self.findings: list[Finding] = []
        self.speeds: list[dict[str, Any]] = []
        self._write("unfinished")

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [finding.check for finding in self.findings if finding.result == "failed"]

    def add(self, *findings: Finding) -> None:
        """Record findings and print them."""
        for finding in findings:
            self.findings.append(finding)
            print(f"{finding.result:<12} {finding.check}: {finding.detail}", flush=True)
        self._write("unfinished")

    def finish(self) -> bool:
        """Print the speeds and the verdict; return whether nothing failed."""
        if self.speeds:
            print("\n" + table([{head: line.get(name) for name, head in COLUMNS.items()} for line in self.speeds]))
        left_out = sum(finding.result == "not checked" for finding in self.findings)
        verdict = f"failed ({', '.join(self.failed)})" if self.failed else "passed"
        print(f"\nverdict: {verdict}" + (f"; {left_out} not checked" if left_out else ""))
        print(f"written to {self._path}: attach it to a bug report", flush=True)
        self._write("failed" if self.failed else "passed")
        return not self.failed

    def _write(self, verdict: str) -> None:
        findings = [asdict(finding) for finding in self.findings]
        content = {"verdict": verdict, **self._facts, "findings": findings, "speeds": self.speeds}
        self._path.write_text(json.dumps(content, indent=1) + "\n")


def say(message: str) -> None:
    """Print progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def table(lines: list[dict[str, Any]]) -> str:
    """Format rows with the same fields as aligned columns; leave out fields that are None in all rows."""
    heads = [head for head in lines[0] if any(line[head] is not None for line in lines)]
    cells = [heads] + [[_cell(line[head]) for head in heads] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(row.rstrip() for row in rows)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def hardware() -> dict[str, Any]:
    """Describe the machine on which the numbers were measured."""
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    flags = next((line.split(":")[1].split() for line in _cpuinfo() if line.startswith("flags")), [])
    simd = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return {"cpu": cpu, "cores": torch.get_num_threads(), "simd": simd, "gpu": gpu, "torch": torch.__version__}


def versions() -> dict[str, str | None]:
    """Return the versions of Python, the platform and `PACKAGES`; None if a package is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
