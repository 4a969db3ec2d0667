"""HTTP: the contract of the service on top of any `csm.speech.Synthesizer`; free of torch."""

from csm.web.app import check, create_app, synthesizer_of

__all__ = ["check", "create_app", "synthesizer_of"]
