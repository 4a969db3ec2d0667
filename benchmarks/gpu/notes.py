"""Results of a stage, written one by one: if the stage is stopped or its device fails, those before are kept."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO


class Notes:
    """The results of one stage, one JSON line each.

    Args:
        sink: where the lines go.
        seconds: that the stage may take.
    """

    def __init__(self, sink: TextIO, seconds: float) -> None:
        self._sink, self._end = sink, monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Time until the stage is stopped."""
        return self._end - monotonic()

    def tell(self, name: str, value: Any) -> None:
        """Record one result; a dot in its name makes it part of another."""
        print(json.dumps([name, value]), file=self._sink, flush=True)

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Record what `work` returns, or why it failed."""
        with self.part(name):
            self.tell(name, work())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record an exception as the failure of one part, and let the stage continue."""
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.tell(f"{name}.failed", describe(error))


def describe(error: BaseException) -> str:
    """Return an error as one line."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0] if first else 'no message'}"


def put(results: dict[str, Any], name: str, value: Any) -> None:
    """Store a result under its dotted name; a value in the way that is not a dictionary moves to its key `told`."""
    *path, last = name.split(".")
    for part in path:
        inner = results.setdefault(part, {})
        results[part] = inner if isinstance(inner, dict) else {"told": inner}
        results = results[part]
    results[last] = value
