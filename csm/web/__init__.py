"""The HTTP layer: serves any `csm.speech.Synthesizer`, without importing torch."""

from csm.web.app import check, create_app, synthesizer_of

__all__ = ["check", "create_app", "synthesizer_of"]
