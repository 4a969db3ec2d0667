"""`csm serve`: the same as `python sesame_server.py`."""

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the server until it is stopped; return the exit status."""
    argparse.ArgumentParser(
        prog="csm serve",
        description="Run the HTTP server. Its settings come from CSM_… variables and from a file .env in this folder, "
        "such as CSM_MODEL, CSM_PORT and CSM_API_KEYS.",
    ).parse_args(arguments)
    from csm.server import main as serve

    return serve()
