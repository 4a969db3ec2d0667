"""The command `csm`. Each subcommand is a module with a function `main`, imported only when it is run."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import csm

COMMANDS = {
    "serve": ("csm.cli.serve", "run the HTTP server"),
    "say": ("csm.cli.say", "say a text in the voice of a recording, here or on a server"),
    "voices": ("csm.cli.voices", "store, list, export and delete voices, here or on a server"),
    "prepare": ("csm.cli.prepare", "download the model, and prepare it for this machine"),
    "watermark": ("csm.cli.watermark", "tell whether recordings carry the mark of synthetic speech"),
    "doctor": ("csm.cli.doctor", "check whether the server can run here, and say what to do"),
    "verify": ("csm.verify.__main__", "compare the installed model with known values; measure its speed"),
}
"""Module and summary of each subcommand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand named on the command line; return the exit status.

    Args:
        arguments: of the command line; None for those of this process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in COMMANDS:
        module, _ = COMMANDS[words[0]]
        try:
            status: int = importlib.import_module(module).main(words[1:])
        except KeyboardInterrupt:
            return 130  # as shells report a program that was ended by SIGINT
        return status
    listed = "\n".join(f"  {name:<10}{summary}" for name, (_, summary) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="csm",
        description="Voice cloning with Sesame CSM-1B.",
        epilog=f"commands:\n{listed}\n\n`csm COMMAND --help` tells more. Settings are variables CSM_… and a file .env.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"csm {csm.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.parse_args(words)
    return 2
