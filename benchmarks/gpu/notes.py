"""Write the results of a stage one by one, so that they are kept if the stage is stopped or its device fails."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO


class Notes:
    """Write the results of one stage, one JSON line each.

    Args:
        sink: stream to write to.
        seconds: time limit of the stage.
    """

    def __init__(self, sink: TextIO, seconds: float) -> None:
        self._sink, self._end = sink, monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the stage is stopped."""
        return self._end - monotonic()

    def tell(self, name: str, value: Any) -> None:
        """Record one result; a dot in its name stores it within another result."""
        print(json.dumps([name, value]), file=self._sink, flush=True)

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Record the result of `work`, or why it failed."""
        with self.part(name):
            self.tell(name, work())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record an exception as the failure of one part, and continue with the stage."""
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.tell(f"{name}.failed", describe(error))


def describe(error: BaseException) -> str:
    """Describe an error in one line."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0] if first else 'no message'}"


def put(results: dict[str, Any], name: str, value: Any) -> None:
    """Store a result under its dotted name; a value on that path that is not a dictionary moves to the key `told`."""
    *path, last = name.split(".")
    for part in path:
        inner = results.setdefault(part, {})
        results[part] = inner if isinstance(inner, dict) else {"told": inner}
        results = results[part]
    results[last] = value
