"""Mount namespaces, in which a test changes file systems for its own processes only; needs root on Linux."""

import os
import subprocess
import sys

import pytest


def may_unshare() -> bool:
    """Return whether this process may make a mount namespace."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


needed = pytest.mark.skipif(not may_unshare(), reason="needs root and mount namespaces")
