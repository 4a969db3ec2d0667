"""The body of POST /reference."""

from pydantic import Field

from csm.web.validation import Audio, Body


class ReferenceForm(Body):
    """A recording that may become reference audio."""

    audio: Audio = Field(description="The recording, in any common format; 5 to 15 seconds are best.")
