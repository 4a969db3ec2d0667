"""CSM itself: checkpoint, conversation, transformer, one frame, sampling, streaming codec."""
