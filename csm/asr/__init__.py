"""Speech recognition: transcribes reference audio that the client sends without a transcript."""

from csm.asr.check import check

__all__ = ["check"]
