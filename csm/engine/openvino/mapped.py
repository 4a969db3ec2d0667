"""Memory-mapped weights whose pages can be released after use."""

import ctypes
import json
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Names of the safetensors format, of the types that a bundle holds.
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64, "BOOL": torch.bool}


class MappedFile:
    """A file mapped into memory, copy-on-write because torch wants writable buffers; nothing is ever written back.

    It stays mapped as long as the process lives: OpenVINO may read from it until it frees its graphs, whenever that is.

    Args:
        path: of a file that is not changed while it is mapped.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The whole file, in place."""
        return np.frombuffer(self._memory, dtype=np.uint8)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a safetensors file, in place.

        The format is the length of a header in 8 bytes, the header in JSON, and the tensors at the offsets named there.
        """
        start = 8 + int.from_bytes(self._memory[:8], "little")
        header = json.loads(self._memory[8:start])
        header.pop("__metadata__", None)
        return {name: self._tensor(entry, start) for name, entry in header.items()}

    def release_pages(self) -> None:
        """Release all pages; the kernel reads them from the file again when they are used."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)

    def _tensor(self, entry: dict[str, Any], start: int) -> Tensor:
        shape, offset = entry["shape"], start + entry["data_offsets"][0]
        flat = torch.frombuffer(self._memory, dtype=TYPES[entry["dtype"]], count=math.prod(shape), offset=offset)
        return flat.view(shape)
