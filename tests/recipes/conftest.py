"""Signals are left as they were."""

import signal
from collections.abc import Iterator

import pytest
from torch.utils.data._utils import signal_handling


@pytest.fixture(autouse=True)
def no_handler_of_child_processes() -> Iterator[None]:
    """Remove the handler that a `DataLoader` with workers installs for the rest of the process.

    In a process that has run OpenVINO, the signal cannot be delivered to such a handler: when a child process ends in
    any later test, the kernel ends this one with SIGSEGV.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
        signal_handling._SIGCHLD_handler_set = False
