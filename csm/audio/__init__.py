"""Bytes in, samples out: sandboxed decoding, conditioning of a reference, WAV output."""
