"""Check that the files of a checkpoint are complete and equal the published ones."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm.verify.golden import Golden, git_id, pointer_id
from csm.verify.report import Finding

SMALL = 1_000_000
"""Size up to which a file is stored in git itself; of larger files, git stores a pointer with size and SHA-256."""

HASHED_ALWAYS = 100_000_000
"""Size up to which a file is always hashed. Weights are hashed only on request: gigabytes take a minute."""


@dataclass(frozen=True)
class Weights:
    """What the headers of the weight files say.

    Attributes:
        files: size in bytes of each file, by name.
        tensors: number of tensors.
        dtypes: as safetensors names them, such as `F32`.
        problems: that were found in the headers.
    """

    files: dict[str, int]
    tensors: int
    dtypes: frozenset[str]
    problems: list[str]

    @property
    def rounded(self) -> bool:
        """Whether the weights are stored with less precision than float32."""
        return not self.dtypes <= {"F32", "I64", "BOOL"}


def check_files(folder: Path, golden: Golden | None, thorough: bool) -> tuple[Finding, Weights]:
    """Compare a checkpoint's files with their headers and, if they are known, with the published ones.

    Args:
        folder: of the checkpoint.
        golden: values of this very repository, or None if its files are not known.
        thorough: whether to hash gigabytes of weights, too.
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
    summary = f"weights of {size:.2f} GB in {len(weights.files)} files, {weights.tensors} tensors, complete"
    if golden:
        summary += f"; by their hashes, {confirmed} of {len(golden.files)} files are those of {golden.repository}"
    return Finding("files", "passed", summary, values), weights


def read_headers(folder: Path) -> Weights:
    """Read the headers of the weight files, which list the tensors and give the expected length of each file."""
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
    """Return the file of each tensor by its name; without an index, the only file, with an empty name."""
    named = json.loads((folder / "config.json").read_text()).get("transformers_weights")
    index = folder / (named or "model.safetensors.index.json")
    if index.suffix == ".json" and (named or index.is_file()):
        where: dict[str, str] = json.loads(index.read_text())["weight_map"]
        return where
    return {"": named or "model.safetensors"}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return type, shape and offsets of each tensor, and the expected length of the file.

    A safetensors file consists of the length of the header in 8 bytes, the header in JSON, and the tensors at the
    offsets in the header.

    Raises:
        ValueError: this is not a safetensors file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)


def _id_of(path: Path, thorough: bool) -> str | None:
    """Return the git id of a file, or None if the file is missing or hashing it would take too long."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size <= SMALL:
        return git_id(path.read_bytes())
    # In the Hub's cache, the name of a large file is the hash that the Hub reported.
    stored = path.resolve().name
    if not thorough and size > HASHED_ALWAYS:
        return pointer_id(stored, size) if re.fullmatch("[0-9a-f]{64}", stored) else None
    with path.open("rb") as file:
        return pointer_id(hashlib.file_digest(file, "sha256").hexdigest(), size)
