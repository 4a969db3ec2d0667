"""Mimi, the codec of CSM: a streaming decoder, an encoder in pieces, and the transformer of both."""
