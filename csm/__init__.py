"""A voice-cloning server for Sesame CSM-1B."""

__version__ = "0.2.0"
