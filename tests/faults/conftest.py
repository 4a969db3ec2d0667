"""One table of all faults at the end of a run: how often each was tried, and how often its user saw what is due."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests import tables

OUTCOMES = pytest.StashKey[Counter[tuple[str, str]]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    counts = item.config.stash.setdefault(OUTCOMES, Counter())
    if report.when == "call" or report.failed:
        counts[_name(item), "tried"] += 1
        counts[_name(item), "passed"] += report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    counts = session.config.stash.get(OUTCOMES, Counter())
    names = sorted({name for name, _ in counts})
    if names:
        rows = [(name, counts[name, "tried"], counts[name, "passed"]) for name in names]
        tables.add(session.config, "Faults", ("class", "tried", "passed"), rows)


def _name(item: pytest.Item) -> str:
    """Of the module and the function, without parameters."""
    module, function = item.location[0].rpartition("test_")[2].removesuffix(".py"), item.location[2].partition("[")[0]
    return f"{module}: {function.removeprefix('test_').replace('_', ' ')}"
