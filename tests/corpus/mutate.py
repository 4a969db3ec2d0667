"""Damage as it happens: bits flip, pieces go missing, come twice or come from elsewhere."""

from collections.abc import Callable, Iterator

import numpy as np

from tests.corpus.case import ANY, Case

_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")

Damage = Callable[[bytearray, np.random.Generator], bytes]


def mutants(case: Case, count: int, seed: int) -> Iterator[Case]:
    """`count` damaged relatives of `case`; the same seed gives the same bytes."""
    rng = np.random.default_rng([seed, len(case.data), *case.name.encode()])
    for number in range(count):
        yield _mutant(case, number, rng)


def _mutant(case: Case, number: int, rng: np.random.Generator) -> Case:
    damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
    data = damage(bytearray(case.data), rng)
    return Case(f"{case.name}~{number}-{damage.__name__.strip('_')}", data, case.filename, ANY)


def _span(data: bytearray, rng: np.random.Generator) -> slice:
    """Return a stretch of up to 4 kB, half of the time within the header."""
    within = len(data) if rng.random() < 0.5 else min(len(data), 256)
    start = int(rng.integers(max(within, 1)))
    return slice(start, start + int(2 ** rng.uniform(0, 12)))


def _flip(data: bytearray, rng: np.random.Generator) -> bytes:
    where = _span(data, rng)
    for at in rng.integers(where.start, min(where.stop, len(data)), size=8):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _overwrite(data: bytearray, rng: np.random.Generator) -> bytes:
    where = _span(data, rng)
    data[where] = rng.bytes(len(data[where]))
    return bytes(data)


def _extreme(data: bytearray, rng: np.random.Generator) -> bytes:
    start = _span(data, rng).start
    data[start : start + 4] = _EXTREMES[rng.integers(len(_EXTREMES))]
    return bytes(data)


def _remove(data: bytearray, rng: np.random.Generator) -> bytes:
    del data[_span(data, rng)]
    return bytes(data)


def _repeat(data: bytearray, rng: np.random.Generator) -> bytes:
    where = _span(data, rng)
    data[where.stop : where.stop] = data[where] * int(rng.integers(1, 9))
    return bytes(data)


def _move(data: bytearray, rng: np.random.Generator) -> bytes:
    source, target = _span(data, rng), _span(data, rng)
    data[target] = data[source]
    return bytes(data)


def _truncate(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data[: int(rng.integers(len(data)))])


_DAMAGES: tuple[Damage, ...] = (_flip, _overwrite, _extreme, _remove, _repeat, _move, _truncate)
