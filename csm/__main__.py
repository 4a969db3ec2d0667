"""The command `csm` where the package is not installed: `python -m csm`."""

import sys

from csm.cli import main

if __name__ == "__main__":
    sys.exit(main())
