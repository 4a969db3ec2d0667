"""Voices on disk: whose they are, what they are called, and what disks do to them."""

import logging
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from csm.errors import Conflict, DamagedVoice, NotAllowed, UnknownVoice
from csm.settings import SettingsError, load
from csm.speech.voices import disk
from csm.speech.voices.library import VoiceLibrary
from tests import mount_namespaces
from tests.corpus.voices import damaged, voice_file
from tests.paths import ROOT
from tests.speech.voices.stored_files import stored_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


@pytest.fixture
def library(folder: Path) -> VoiceLibrary:
    return opened(folder)


def opened(folder: Path | None, **given: object) -> VoiceLibrary:
    return VoiceLibrary.from_settings(load(None, voices_dir=folder, **given))


def share(folder: Path, stem: str, **info: Any) -> None:
    (folder / "shared").mkdir(parents=True, exist_ok=True)
    (folder / "shared" / f"{stem}.safetensors").write_bytes(voice_file(**info).to_bytes())


def names(library: VoiceLibrary, owner: str) -> list[str]:
    return [info.name for info in library.available(owner)]


def test_a_voice_is_kept_over_a_restart(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    again = opened(folder)
    assert again.get("alice", info.id) == info and info.owner == "alice"
    assert again.read("alice", info.id).samples.tolist() == voice_file().samples.tolist()


def test_ids_cannot_be_guessed(library: VoiceLibrary) -> None:
    ids = {library.add(voice_file(name=str(number)), "alice").id for number in range(20)}
    assert len(ids) == 20 and all(len(one) == 6 + 32 for one in ids)


def test_only_its_owner_sees_a_voice(library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    assert names(library, "alice") == ["Ann", "default"] and names(library, "bob") == ["default"]
    unknown = []
    for voice_id in (info.id, "voice_" + "0" * 32):
        for attempt in (library.get, library.read, library.delete, partial(library.rename, name="Bea")):
            with pytest.raises(UnknownVoice) as refused:
                attempt("bob", voice_id)
            unknown.append(str(refused.value))
    assert len(set(unknown)) == 1 and library.get("alice", info.id)


@pytest.mark.parametrize("word", ["../shared/x", "/etc/passwd", "..", ".", "", "\0", "a/b", "~", "x" * 5000, "*"])
def test_words_that_look_like_paths_are_compared_and_never_opened(
    word: str, library: VoiceLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "x.safetensors").write_bytes(voice_file(name="x").to_bytes())
    names(library, "alice")
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    for look_up in (library.get, library.open, library.read, library.delete):
        with pytest.raises(UnknownVoice):
            look_up("alice", word)


def test_a_voice_is_found_by_id_name_and_alias(folder: Path) -> None:
    library = opened(folder, voice_aliases="alloy=default, echo = Ann")
    ann = library.add(voice_file(name="Ann"), "alice")
    for word in (ann.id, "Ann", "echo"):
        assert library.open("alice", word).info == ann
    assert library.open("bob", "alloy").info.id == library.open("bob", "default").info.id == "default"
    with pytest.raises(UnknownVoice):
        library.open("bob", "echo")


def test_names_are_compared_in_one_normal_form(library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Zo\u00eb"), "alice")
    assert library.open("alice", "Zoe\u0308").info == info


def test_a_name_is_unique_among_what_an_owner_can_use(folder: Path) -> None:
    library = opened(folder, voice_aliases="alloy=default")
    share(folder, "narrator", name="The narrator")
    ann, bea = (library.add(voice_file(name=name), "alice") for name in ("Ann", "Bea"))
    for name in ("Ann", "The narrator", "narrator", "default", "alloy"):
        with pytest.raises(Conflict):
            library.add(voice_file(name=name), "alice")
        with pytest.raises(Conflict):
            library.rename("alice", bea.id, name)
    assert library.add(voice_file(name="Ann"), "bob").name == library.rename("alice", ann.id, "Ann").name
    assert library.rename("alice", bea.id, "Cleo").id == bea.id
    assert names(library, "alice") in (
        ["Ann", "Cleo", "The narrator", "default"],
        ["Cleo", "Ann", "The narrator", "default"],
    )


def test_renaming_keeps_everything_else(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    library.rename("alice", info.id, "Bea")
    before, after = voice_file(name="Ann"), opened(folder).read("alice", info.id)
    assert after.info == info.__class__(**{**vars(info), "name": "Bea"})
    assert (
        after.samples.tolist() == before.samples.tolist() and after.codes["c0"].tolist() == before.codes["c0"].tolist()
    )


def test_a_key_cannot_fill_the_disk(folder: Path) -> None:
    library = opened(folder, max_voices=2)
    first, _ = library.add(voice_file(name="1"), "alice"), library.add(voice_file(name="2"), "alice")
    with pytest.raises(Conflict, match="CSM_MAX_VOICES"):
        library.add(voice_file(name="3"), "alice")
    library.add(voice_file(name="3"), "bob")
    library.delete("alice", first.id)
    library.add(voice_file(name="3"), "alice")


def test_shared_voices_belong_to_everybody_and_cannot_be_changed(folder: Path, library: VoiceLibrary) -> None:
    share(folder, "narrator", name="The narrator", owner="alice")
    for owner in ("alice", "bob"):
        assert library.get(owner, "narrator").owner is None and library.read(owner, "narrator").samples.any()
        for voice_id in ("narrator", "default"):
            with pytest.raises(NotAllowed):
                library.delete(owner, voice_id)
            with pytest.raises(NotAllowed):
                library.rename(owner, voice_id, "mine")
    share(folder, "default", name="Our default")
    assert names(library, "bob") == ["Our default", "The narrator"]


def test_files_that_come_and_go_are_noticed(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    share(folder, "narrator", name="The narrator")
    assert names(library, "alice") == ["Ann", "The narrator", "default"]
    share(folder, "narrator", name="Somebody else", seconds=3)
    (folder / f"{info.id}.safetensors").unlink()
    assert names(library, "alice") == ["Somebody else", "default"]


def test_a_file_is_read_again_only_when_it_changes(
    folder: Path, library: VoiceLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add(voice_file(name="Ann"), "alice")
    assert names(library, "alice") == ["Ann", "default"]
    monkeypatch.setattr("csm.speech.voices.index.read_info", None)
    assert names(library, "alice") == ["Ann", "default"]


def test_broken_files_are_left_out_and_told(
    folder: Path, library: VoiceLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    for number, (_, content) in enumerate(damaged()):
        for place in (folder, folder / "shared"):
            place.mkdir(exist_ok=True)
            (place / f"voice_{number:032x}.safetensors").write_bytes(content)
    (folder / "stranger.safetensors").write_bytes(voice_file(name="Stranger").to_bytes())
    (folder / f"voice_{'f' * 32}.safetensors").write_bytes(voice_file(name="Nobody's", owner=None).to_bytes())
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "dangling.safetensors").symlink_to("nowhere")
    # Codes are checked when a voice is used.
    assert [name for name in names(library, "alice") if name != "Ann"].count("default") == 1
    assert library.get("alice", info.id) == info
    assert "left out" in caplog.text and "stranger" in caplog.text and "move it to shared/" in caplog.text
    assert str(folder) not in caplog.text
    caplog.clear()
    library.available("alice")
    assert not caplog.records, "each is told once"


def test_a_voice_whose_file_broke_meanwhile_can_be_deleted(folder: Path, library: VoiceLibrary) -> None:
    content = dict(damaged())["codes out of range"]
    path = folder / f"voice_{'1' * 32}.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedVoice, match="damaged"):
        library.read("alice", path.stem)
    library.delete("alice", path.stem)
    assert not path.exists()


def test_without_a_folder_there_is_the_default_voice_and_nothing_is_stored() -> None:
    library = opened(None)
    library.sweep()
    assert names(library, "anybody") == ["default"]
    with pytest.raises(NotAllowed, match="CSM_VOICES_DIR"):
        library.add(voice_file(), "anybody")


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="CSM_VOICES_DIR cannot be used"):
        opened(tmp_path / "file" / "voices")


def test_others_on_the_machine_cannot_read_voices(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(), "alice")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / f"{info.id}.safetensors").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("pairs", ["alloy", "=default", "alloy=", "a=b,a=c", "alloy default"])
def test_aliases_of_another_form_stop_the_start(pairs: str) -> None:
    with pytest.raises(SettingsError, match="CSM_VOICE_ALIASES"):
        load(None, voice_aliases=pairs)


def test_an_alias_without_a_voice_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        opened(folder, voice_aliases="alloy=default,echo=nobody").warn()
    assert "echo=nobody" in caplog.text and "alloy" not in caplog.text


def test_updated_codes_are_kept_and_do_not_bring_a_deleted_voice_back(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(name="Ann"), "alice")
    voice = library.read("alice", info.id)
    library.rename("alice", info.id, "Bea")
    library.update(voice.__class__(voice.info, voice.samples, {"c1": voice.codes["c0"]}))
    assert opened(folder).read("alice", info.id).codes.keys() == {"c1"}
    assert names(library, "alice") == ["Bea", "default"]
    library.delete("alice", info.id)
    library.update(voice)
    assert stored_files(folder) == []


def test_processes_that_change_voices_wait_for_each_other(folder: Path, library: VoiceLibrary) -> None:
    """Otherwise a voice that one server renames could come back after another has deleted it."""
    info = library.add(voice_file(name="Ann"), "alice")
    changing = threading.Thread(target=library.delete, args=("alice", info.id))
    with disk.locked(folder):
        changing.start()
        changing.join(0.5)
        assert changing.is_alive() and not library.missing([info.id])
    changing.join(60)
    assert library.missing([info.id]) == {info.id}


def test_a_voice_can_be_given_to_another_owner(folder: Path, library: VoiceLibrary) -> None:
    ann = library.add(voice_file(name="Ann"), "alice")
    library.add(voice_file(name="Ann"), "bob")
    library.add(voice_file(name="Bea"), "alice")
    assert library.owners() == {"alice": 2, "bob": 1}
    with pytest.raises(Conflict):
        library.give("alice", ann.id, "bob")
    with pytest.raises(UnknownVoice):
        library.give("bob", ann.id, "bob")
    library.give("alice", ann.id, "carol")
    assert names(library, "carol") == ["Ann", "default"] and library.owners() == {"alice": 1, "bob": 1, "carol": 1}


def test_a_server_that_is_open_to_all_stores_nothing(folder: Path) -> None:
    library = opened(folder, host="0.0.0.0", allow_anonymous=True)
    with pytest.raises(NotAllowed, match="no keys"):
        library.add(voice_file(), "anonymous")
    assert opened(folder, allow_anonymous=True, api_keys="secret").add(voice_file(), "alice")


READ_ONLY = "mount -t tmpfs tmpfs $0 && cp $1/* $0 && mount -o remount,ro $0"
FULL = "mount -t tmpfs -o size=200k tmpfs $0 && cp $1/* $0"
ATTEMPT = """
import sys
from csm.errors import StorageFailed
from csm.settings import load
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file
library = VoiceLibrary.from_settings(load(None, voices_dir=sys.argv[1]))
library.sweep()
[ann] = [info for info in library.available("alice") if info.name == "Ann"]
for attempt in (lambda: library.add(voice_file(name="Bea"), "alice"), lambda: library.rename("alice", ann.id, "Bea")):
    try:
        attempt()
    except StorageFailed as error:
        print(error)
assert library.read("alice", ann.id).info == ann
"""


@mount_namespaces.needed
@pytest.mark.parametrize(("disk_state", "told"), [(READ_ONLY, "read-only"), (FULL, "disk is full")])
def test_a_disk_that_takes_nothing_is_told_and_harms_nothing(
    disk_state: str, told: str, folder: Path, library: VoiceLibrary, tmp_path: Path
) -> None:
    library.add(voice_file(name="Ann", seconds=2.5), "alice")
    (tmp_path / "disk").mkdir()
    script = f'set -e; {disk_state}; shift; exec "$@"'
    command = ["unshare", "--mount", "bash", "-c", script, str(tmp_path / "disk"), str(folder)]
    run = subprocess.run(
        [*command, sys.executable, "-c", ATTEMPT, str(tmp_path / "disk")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert [told in line for line in run.stdout.splitlines()] == [True, True], run.stdout + run.stderr


def test_what_an_interrupted_write_leaves_is_swept_at_the_start(folder: Path, library: VoiceLibrary) -> None:
    info = library.add(voice_file(), "alice")
    share(folder, "narrator")
    for place in (folder, folder / "shared"):
        (place / f".{info.id}.safetensors.0a1b2c3d{disk.TEMPORARY}").write_bytes(b"half")
    opened(folder).sweep()
    assert stored_files(folder) == ["shared", f"{info.id}.safetensors"]
    assert os.listdir(folder / "shared") == ["narrator.safetensors"]
