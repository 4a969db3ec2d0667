"""`csm doctor --audio FILE`: check a recording as the server checks reference audio."""

from dataclasses import asdict
from pathlib import Path

from csm.asr.check import NONE
from csm.errors import CsmError
from csm.settings import SettingsError, load


def is_usable(file: Path) -> bool:
    """Print measurements, the words if a recogniser is configured, and advice; return whether the audio is usable."""
    # Imports torch, which takes seconds.
    from csm.audio.condition import condition
    from csm.audio.decode import decode
    from csm.audio.report import examine, warnings

    try:
        settings = load()
        max_seconds = settings.max_reference_seconds
        recording = decode(file.read_bytes(), max_seconds=2 * max_seconds)
        conditioned = condition(recording, max_seconds=max_seconds)
        report = examine(recording, conditioned)
        for name, value in asdict(report).items():
            print(f"{'ok':<12} {name}: {'not measured' if value is None else f'{value:g}'}")
        if settings.transcriber != NONE:
            # Imports CTranslate2 and ONNX Runtime.
            from csm.asr.whisper import WhisperRecognizer

            words = WhisperRecognizer(settings.transcriber).recognize(conditioned)
            print(f"{'ok' if words else 'advice':<12} words: {words or 'none were recognised. Send a transcript.'}")
    except (CsmError, SettingsError, OSError) as error:
        print(f"{'to do':<12} {error}")
        return False
    for line in warnings(report):
        print(f"{'advice':<12} {line}")
    return True
