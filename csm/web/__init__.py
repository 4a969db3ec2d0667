"""The HTTP layer: serves any `csm.speech.Synthesizer`, without importing torch."""

from csm.web.app import METRICS_HOST, check, create_app, serve_metrics, synthesizer_of

__all__ = ["METRICS_HOST", "check", "create_app", "serve_metrics", "synthesizer_of"]
