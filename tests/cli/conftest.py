import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_log_level() -> Iterator[None]:
    """Commands set the level of our loggers for their process, which here is that of all tests."""
    level = logging.getLogger("csm").level
    yield
    logging.getLogger("csm").setLevel(level)
