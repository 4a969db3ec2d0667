"""Stored voices: a library on disk of reference audio with its transcript, consent statement and codes."""
