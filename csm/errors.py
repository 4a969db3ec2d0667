"""Errors that are reported to clients.

Every message is written for the client: it says what is wrong and what to do, and never contains a path, a key or the
client's own text. `csm.web.problems` maps each class to one HTTP status.
"""


class CsmError(Exception):
    """Base class of all errors that are reported to clients."""


class UndecodableAudio(CsmError):
    """The reference audio cannot be decoded."""


class UnusableReference(CsmError):
    """The reference audio can be decoded but not used: it is too short, silent, clipped or not finite."""


class InvalidRequest(CsmError):
    """A field is out of range."""


class UnknownVoice(CsmError):
    """There is no stored voice of this id or name, or it belongs to another key."""


class NotAllowed(CsmError):
    """The settings do not allow this, or a shared voice was to be changed."""


class Conflict(CsmError):
    """The name is taken, or there are as many voices as are allowed."""


class StorageFailed(CsmError):
    """A stored voice cannot be written or deleted."""


class DamagedVoice(CsmError):
    """The file of a stored voice cannot be read."""


class Unavailable(CsmError):
    """The server cannot take this request now.

    Args:
        message: why, and what to do.
        retry_after: seconds after which to try again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReady(Unavailable):
    """The model is loading, draining or unhealthy."""


class Busy(Unavailable):
    """All slots and the whole queue are reserved."""


class DeadlineExceeded(CsmError):
    """No audio was generated within the time that a request may wait."""


class Cancelled(CsmError):
    """The client disconnected, so the message reaches nobody."""


class GenerationFailed(CsmError):
    """The model failed to speak the text; the request was valid."""


class ModelUnavailable(CsmError):
    """A model cannot be fetched, read or run here; the message names the remedy."""
