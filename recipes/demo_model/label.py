"""Stage a, addition: compute the durations of phonemes for speech by Kokoro that was stored without them.

    python -m recipes.demo_model.label --voices package/voices --speech work/speech

It takes a few hundredths of a second per sentence, since no audio is synthesised. Existing durations are kept.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from recipes.demo_model.data import load_voices, style_of
from recipes.demo_model.kokoro import Kokoro, Style
from recipes.demo_model.speech import INDEX

Durations = Callable[[str, Style, float], list[int]]


def label(durations: Durations, voices: dict[str, Style], folder: Path) -> int:
    """Add missing durations to the index of a folder; return the number of sentences that were changed."""
    entries = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
    lacking = [entry for entry in entries if "durations" not in entry]
    for entry in lacking:
        entry["durations"] = durations(entry["phonemes"], style_of(entry["speaker"], voices), entry["speed"])
    partial = folder / f"{INDEX}.partial"
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    os.replace(partial, folder / INDEX)
    return len(lacking)


def main() -> None:
    """Label a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=Path, required=True, help="folder voices/ of the npm package kokoro-js")
    parser.add_argument("--speech", type=Path, required=True, help="folder of speech by Kokoro")
    arguments = parser.parse_args()
    count = label(Kokoro(threads=1).durations, load_voices(arguments.voices), arguments.speech)
    print(f"{count} sentences labelled")


if __name__ == "__main__":
    main()
