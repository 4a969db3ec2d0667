"""The body of POST /watermark."""

from pydantic import Field

from csm.web.validation import Audio, Body


class WatermarkForm(Body):
    """A recording in which a watermark is looked for."""

    audio: Audio = Field(description="The recording, in any common format.")
