"""Mount namespaces, in which a test may see other file systems than everybody else; for Linux's root."""

import os
import subprocess
import sys

import pytest


def may_unshare() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


needed = pytest.mark.skipif(not may_unshare(), reason="needs root and mount namespaces")
