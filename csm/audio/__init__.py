"""Audio: decoding in a sandbox, conditioning of reference audio, WAV output."""
