"""`csm watermark`: tell whether recordings carry the mark of synthetic speech."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from csm.errors import CsmError
from csm.speech.api import MAX_EXAMINED_SECONDS


def main(arguments: Sequence[str]) -> int:
    """Print a line for each file; return 1 if one of them cannot be examined, else 0."""
    parser = argparse.ArgumentParser(
        prog="csm watermark",
        description="Tell whether recordings carry the mark that this server puts into speech. Of each, the first "
        f"{MAX_EXAMINED_SECONDS:.0f} seconds are examined.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recording in any common format")
    files = parser.parse_args(arguments).files
    # Imports torch, which takes seconds.
    from csm.audio.decode import decode
    from csm.audio.watermark.detect import THRESHOLD, detect
    from csm.audio.watermark.perth import Perth

    status = 0
    try:
        perth = Perth.load()
        for file in files:
            try:
                confidence = detect(decode(file.read_bytes(), MAX_EXAMINED_SECONDS), perth)
            except (CsmError, OSError) as error:
                print(f"csm watermark: {file}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
                status = 1
            else:
                print(f"{file}: {'marked' if confidence >= THRESHOLD else 'not marked'}, confidence {confidence:.3f}")
    except CsmError as error:
        print(f"csm watermark: {error}", file=sys.stderr)
        return 1
    return status
