"""Stored voices on a real disk, but without torch: recordings are not decoded, and nothing is encoded."""

from collections.abc import Callable
from dataclasses import replace

from csm.errors import InvalidRequest, UndecodableAudio
from csm.settings import Settings
from csm.speech import VoiceDraft, VoiceInfo
from csm.speech.voices.file import BrokenVoice, VoiceFile
from csm.speech.voices.library import VoiceLibrary
from tests.corpus.voices import voice_file


class FakeVoices:
    """Implements `csm.speech.Voices`.

    Args:
        settings: name the folder.
    """

    def __init__(self, settings: Settings) -> None:
        self.library = VoiceLibrary.from_settings(settings)
        self.library.sweep()
        self.drafts: list[VoiceDraft] = []

    def create(self, draft: VoiceDraft, owner: str, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """See `Voices.create`; the recording `noise` cannot be decoded."""
        self.library.check_room(owner, draft.name)
        if b"noise" in draft.recordings:
            raise UndecodableAudio("The audio file cannot be decoded.")
        self.drafts.append(draft)
        transcript = " ".join(draft.transcripts)
        return self.library.add(voice_file(name=draft.name, consent=draft.consent, transcript=transcript), owner)

    def add_file(self, content: bytes, owner: str, name: str | None, is_disconnected: Callable[[], bool]) -> VoiceInfo:
        """See `Voices.add_file`."""
        try:
            voice = VoiceFile.from_bytes(content, "")
        except BrokenVoice as error:
            raise InvalidRequest(f"The file cannot be imported: {error}.") from None
        return self.library.add(replace(voice, info=replace(voice.info, name=name or voice.info.name)), owner)

    def available(self, owner: str) -> list[VoiceInfo]:
        """See `Voices.available`."""
        return self.library.available(owner)

    def get(self, owner: str, voice_id: str) -> VoiceInfo:
        """See `Voices.get`."""
        return self.library.get(owner, voice_id)

    def rename(self, owner: str, voice_id: str, name: str) -> VoiceInfo:
        """See `Voices.rename`."""
        return self.library.rename(owner, voice_id, name)

    def delete(self, owner: str, voice_id: str) -> None:
        """See `Voices.delete`."""
        self.library.delete(owner, voice_id)

    def sample(self, owner: str, voice_id: str) -> bytes:
        """See `Voices.sample`."""
        return b"RIFF" + self.library.read(owner, voice_id).samples.tobytes()

    def export(self, owner: str, voice_id: str) -> bytes:
        """See `Voices.export`."""
        return self.library.export(owner, voice_id)
