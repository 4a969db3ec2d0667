"""`csm voices`: store, list, show, export, import and delete voices, in a folder here or on a running server."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from csm.cli.remote import RemoteError, ask
from csm.cli.say import KEY
from csm.errors import CsmError, UnknownVoice
from csm.settings import Settings, SettingsError, load
from csm.speech.voices.api import ANONYMOUS, VoiceDraft, clean_consent, clean_name
from csm.speech.voices.library import VoiceLibrary

PATH = "/v1/audio/voices"


def main(arguments: Sequence[str]) -> int:
    """Run one of the actions; return the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.url and args.action in ("owners", "give"):
        parser.error(f"{args.action} works on the folder here only, without --url")
    try:
        shelf: Shelf = RemoteShelf(args.url, args.key or os.environ.get(KEY)) if args.url else LocalShelf(args.owner)
        _run(args, shelf)
    except SettingsError as error:
        return _fail(str(error), 2)
    except (CsmError, RemoteError) as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename or 'the output'}: {error.strerror or error}", 1)
    return 0


class Shelf(Protocol):
    """Where voices are kept. A voice is a dictionary with the members of the HTTP API."""

    def available(self) -> list[dict[str, Any]]:
        """Return all voices."""

    def add(self, draft: VoiceDraft) -> dict[str, Any]:
        """Make a voice of recordings with at most one transcript."""

    def add_file(self, content: bytes, name: str | None) -> dict[str, Any]:
        """Import a file."""

    def export(self, voice_id: str) -> bytes:
        """Return the file of a voice."""

    def delete(self, voice_id: str) -> None:
        """Delete a voice."""


class LocalShelf:
    """The voices in `CSM_VOICES_DIR`; only what has to be encoded needs the model.

    Args:
        owner: of the voices: the name of a key of the server that uses the folder.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        # No socket is opened, so the check that a public CSM_HOST needs keys does not apply.
        self._settings = load(host="127.0.0.1")
        self._library = VoiceLibrary.from_settings(self._settings)

    def available(self) -> list[dict[str, Any]]:
        """See `Shelf.available`."""
        return [asdict(info) | {"shared": info.owner is None} for info in self._library.available(self._owner)]

    def add(self, draft: VoiceDraft) -> dict[str, Any]:
        """See `Shelf.add`."""
        self._library.check_room(self._owner, draft.name)
        with _Loaded(self._settings) as synthesizer:
            return asdict(synthesizer.voices.create(draft, self._owner, lambda: False))

    def add_file(self, content: bytes, name: str | None) -> dict[str, Any]:
        """See `Shelf.add_file`."""
        with _Loaded(self._settings) as synthesizer:
            return asdict(synthesizer.voices.add_file(content, self._owner, name, lambda: False))

    def export(self, voice_id: str) -> bytes:
        """See `Shelf.export`."""
        return self._library.export(self._owner, voice_id)

    def delete(self, voice_id: str) -> None:
        """See `Shelf.delete`."""
        self._library.delete(self._owner, voice_id)

    def owners(self) -> dict[str, int]:
        """Return how many voices each owner has."""
        return self._library.owners()

    def give(self, voice_id: str, new_owner: str) -> None:
        """Give a voice to another owner."""
        self._library.give(self._owner, voice_id, new_owner)


class _Loaded:
    """The model that the settings describe, while it is used."""

    def __init__(self, settings: Settings) -> None:
        # Imports torch, which takes seconds.
        from csm.speech.build import build

        print(f"loading {settings.model}", file=sys.stderr)
        self._synthesizer = build(settings)

    def __enter__(self) -> Any:
        return self._synthesizer

    def __exit__(self, *_: object) -> None:
        self._synthesizer.close()


class RemoteShelf:
    """The voices of a key on a running server.

    Args:
        url: of the server.
        key: API key, or None.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self._server = url, key

    def available(self) -> list[dict[str, Any]]:
        """See `Shelf.available`."""
        voices: list[dict[str, Any]] = json.loads(ask(*self._server, "GET", PATH))["data"]
        return voices

    def add(self, draft: VoiceDraft) -> dict[str, Any]:
        """See `Shelf.add`."""
        files = [("audio_sample", recording) for recording in draft.recordings]
        fields = {"name": draft.name, "consent": draft.consent}
        if draft.transcripts:
            [fields["transcript"]] = draft.transcripts
        voice: dict[str, Any] = json.loads(ask(*self._server, "POST", PATH, files, fields))
        return voice

    def add_file(self, content: bytes, name: str | None) -> dict[str, Any]:
        """See `Shelf.add_file`."""
        fields = {} if name is None else {"name": name}
        voice: dict[str, Any] = json.loads(ask(*self._server, "POST", f"{PATH}/import", [("file", content)], fields))
        return voice

    def export(self, voice_id: str) -> bytes:
        """See `Shelf.export`."""
        return ask(*self._server, "GET", f"{PATH}/{voice_id}/export")

    def delete(self, voice_id: str) -> None:
        """See `Shelf.delete`."""
        ask(*self._server, "DELETE", f"{PATH}/{voice_id}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="csm voices",
        description="Store, list, show, export, import and delete voices: in the folder CSM_VOICES_DIR, or with --url "
        "on a running server. To add or import a voice here, the model is loaded (CSM_MODEL and the other settings).",
    )
    parser.add_argument("--url", help="of a running server, such as http://127.0.0.1:5000")
    parser.add_argument("--key", help=f"of that server; by default the variable {KEY}, which others cannot see")
    parser.add_argument(
        "--owner",
        default=ANONYMOUS,
        help=f"of the voices here: the name of a key in CSM_API_KEYS_FILE; by default `{ANONYMOUS}`, which owns the "
        "voices of a server without keys",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list the voices")
    add = actions.add_parser("add", help="store a voice")
    add.add_argument("name", help="of the voice")
    add.add_argument(
        "recordings", nargs="+", type=Path, metavar="FILE", help="recording of the speaker; several are joined"
    )
    add.add_argument("--transcript", help="the words of all recordings")
    add.add_argument("--consent", required=True, help="a statement that the speaker agrees, which is stored")
    for action, summary in (("show", "print all that is known about a voice"), ("delete", "delete a voice")):
        actions.add_parser(action, help=summary).add_argument("voice", help="name or id")
    export = actions.add_parser("export", help="write a voice into a file")
    export.add_argument("voice", help="name or id")
    export.add_argument("-o", "--output", required=True, type=Path, help="file to write")
    importing = actions.add_parser("import", help="store a voice from a file that was exported")
    importing.add_argument("file", type=Path, help="the file")
    importing.add_argument("--name", help="of the voice, in place of that in the file")
    actions.add_parser("owners", help="list the owners of the voices here: after keys have changed, for example")
    give = actions.add_parser("give", help="give a voice here to another owner")
    give.add_argument("voice", help="name or id")
    give.add_argument("new_owner", help="name of a key")
    return parser


def _run(args: argparse.Namespace, shelf: Shelf) -> None:
    if args.action == "list":
        for voice in shelf.available():
            day = time.strftime("%Y-%m-%d", time.gmtime(voice["created_at"]))
            print(f"{voice['id']:<40}{voice['seconds']:>6.1f} s  {day}  {'shared  ' * voice['shared']}{voice['name']}")
    elif args.action == "add":
        recordings = [path.read_bytes() for path in args.recordings]
        transcripts = [args.transcript] if args.transcript else []
        draft = VoiceDraft(clean_name(args.name), recordings, transcripts, clean_consent(args.consent))
        _show(shelf.add(draft))
    elif args.action == "import":
        _show(shelf.add_file(args.file.read_bytes(), clean_name(args.name) if args.name else None))
    elif args.action == "show":
        _show(_find(shelf, args.voice))
    elif args.action == "export":
        args.output.write_bytes(shelf.export(_find(shelf, args.voice)["id"]))
    elif args.action == "delete":
        shelf.delete(_find(shelf, args.voice)["id"])
    elif isinstance(shelf, LocalShelf):
        if args.action == "give":
            shelf.give(_find(shelf, args.voice)["id"], args.new_owner)
        for owner, count in shelf.owners().items():
            print(f"{count:>4}  {owner}")


def _find(shelf: Shelf, word: str) -> dict[str, Any]:
    """Return the voice of this id, or else of this name."""
    available = shelf.available()
    for member in ("id", "name"):
        for voice in available:
            if voice[member] == word:
                return voice
    raise UnknownVoice(f"there is no voice {word}: `csm voices list` lists those that there are")


def _show(voice: dict[str, Any]) -> None:
    print(json.dumps(voice, indent=2, ensure_ascii=False))
    for line in voice["report"].get("warnings", ()):
        print(f"csm voices: {line}", file=sys.stderr)


def _fail(message: str, status: int) -> int:
    print(f"csm voices: {message}", file=sys.stderr)
    return status
