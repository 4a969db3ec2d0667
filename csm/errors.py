"""What can go wrong with a request, in the client's words.

Every message is written to be shown to the client: it says what is wrong and what would help, and never
contains a path, a key or the client's own text. `csm.web.problems` maps each class to one HTTP status.
"""


class CsmError(Exception):
    """Base of all errors that a client may be told about."""


class UndecodableAudio(CsmError):
    """The upload is not audio that we can decode."""


class UnusableReference(CsmError):
    """The upload decodes, but cannot serve as a voice: too short, silent, clipped, not finite."""


class InvalidRequest(CsmError):
    """A field is out of range."""


class Unavailable(CsmError):
    """The server cannot take this request now.

    Args:
        message: why, and what to do.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(Unavailable):
    """The model is loading, draining or unhealthy."""


class Busy(Unavailable):
    """All slots and the whole queue are reserved."""


class DeadlineExceeded(CsmError):
    """No audio was produced within the time a client may wait."""


class Cancelled(CsmError):
    """The client disconnected; nobody is left to read this message."""


class GenerationFailed(CsmError):
    """The model could not say this text; the fault is ours."""


class ModelUnavailable(CsmError):
    """The checkpoint cannot be fetched or read; the message names the remedy."""
