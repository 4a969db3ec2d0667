"""Whether the files of a checkpoint are whole, and are those that were published."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm.verify.golden import Golden, git_id, pointer_id
from csm.verify.report import Finding

SMALL = 1_000_000
"""Bytes up to which a file lies in git itself; larger ones are stood for by a pointer with their size and SHA-256."""

HASHED_ALWAYS = 100_000_000
"""Bytes up to which a large file is read through; weights are not, unless asked for: gigabytes take a minute."""


@dataclass(frozen=True)
class Weights:
    """Facts from the headers of the weights' files.

    Attributes:
        files: by name, their sizes in bytes.
        tensors: how many there are.
        dtypes: of safetensors, such as `F32`.
        problems: that were found on the way.
    """

    files: dict[str, int]
    tensors: int
    dtypes: frozenset[str]
    problems: list[str]

    @property
    def rounded(self) -> bool:
        """Whether they are stored in less than float32."""
        return not self.dtypes <= {"F32", "I64", "BOOL"}


def check_files(folder: Path, golden: Golden | None, thorough: bool) -> tuple[Finding, Weights]:
    """Compare a checkpoint's files with their own headers and, where they are known, with the published ones.

    Args:
        folder: of the checkpoint.
        golden: of this very repository; None where nothing is known of the files.
        thorough: whether to read through gigabytes of weights, too.
    """
    weights = read_headers(folder)
    problems = [*weights.problems]
    found = {name: _id_of(folder / name, thorough) for name in (golden.files if golden else ())}
    confirmed = 0
    for name, known in (golden.files if golden else {}).items():
        confirmed += known is not None and found[name] == known
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif known and found[name] and found[name] != known:
            problems.append(f"{name} differs from the published one")
    values = {"weights": weights.files, "tensors": weights.tensors, "dtypes": sorted(weights.dtypes)}
    values |= {"problems": problems, "confirmed": confirmed}
    if problems:
        remedy = "delete the folder and fetch it again"
        remedy += f", with CSM_REVISION={golden.revision}" if golden else ""
        return Finding("files", "failed", f"{'; '.join(problems)}: {remedy}", values), weights
    size = sum(weights.files.values()) / 1e9
    told = f"weights of {size:.2f} GB in {len(weights.files)} files, {weights.tensors} tensors, complete"
    if golden:
        told += f"; by their hashes, {confirmed} of {len(golden.files)} files are those of {golden.repository}"
    return Finding("files", "passed", told, values), weights


def read_headers(folder: Path) -> Weights:
    """Read which tensors there are and where; the header of a safetensors file tells how long the file must be."""
    sizes: dict[str, int] = {}
    names: set[str] = set()
    dtypes: set[str] = set()
    problems: list[str] = []
    try:
        expected = _expected(folder)
    except (OSError, ValueError, KeyError, AttributeError):
        return Weights({}, 0, frozenset(), ["the list of the weights' files cannot be read"])
    for name in sorted(set(expected.values())):
        try:
            header, size = _header(folder / name)
        except OSError:
            problems.append(f"{name} is missing")
            continue
        except ValueError:
            problems.append(f"{name} is damaged")
            continue
        sizes[name] = (folder / name).stat().st_size
        if sizes[name] != size:
            problems.append(f"{name} has {sizes[name]} bytes instead of {size}")
        names |= header.keys()
        dtypes |= {tensor["dtype"] for tensor in header.values()}
        lacking = [tensor for tensor, file in expected.items() if tensor and file == name and tensor not in header]
        problems += [f"{name} lacks {lacking[0]} and {len(lacking) - 1} other tensors"] if lacking else []
    return Weights(sizes, len(names), frozenset(dtypes), problems)


def _expected(folder: Path) -> dict[str, str]:
    """Return the file that holds each tensor; without an index, the only file under an empty name."""
    named = json.loads((folder / "config.json").read_text()).get("transformers_weights")
    index = folder / (named or "model.safetensors.index.json")
    if index.suffix == ".json" and (named or index.is_file()):
        where: dict[str, str] = json.loads(index.read_text())["weight_map"]
        return where
    return {"": named or "model.safetensors"}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return type, shape and offsets of each tensor, and the length that the file must have.

    The format: the length of a header in 8 bytes, the header in JSON, and the tensors at offsets that it names.

    Raises:
        ValueError: this is no safetensors file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)


def _id_of(path: Path, thorough: bool) -> str | None:
    """Return the git id of a file, or None where it is missing or that would take too long to find out."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size <= SMALL:
        return git_id(path.read_bytes())
    # The Hub's cache names each large file by the hash that the Hub gave for it.
    stored = path.resolve().name
    if not thorough and size > HASHED_ALWAYS:
        return pointer_id(stored, size) if re.fullmatch("[0-9a-f]{64}", stored) else None
    with path.open("rb") as file:
        return pointer_id(hashlib.file_digest(file, "sha256").hexdigest(), size)
