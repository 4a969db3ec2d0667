"""Speech recognition: the words of reference audio whose transcript the client does not give."""

from csm.asr.check import check

__all__ = ["check"]
