"""The shape of one upload and of what hostile ones reach for."""

from dataclasses import dataclass, field

OK = frozenset({200})
UNDECODABLE = frozenset({415})
UNUSABLE = frozenset({422})
REFUSED = UNDECODABLE | UNUSABLE
ANY = OK | REFUSED


@dataclass(frozen=True)
class Case:
    """One upload.

    Attributes:
        name: of its class.
        data: the file.
        filename: what the client calls it; often a lie.
        expect: HTTP statuses that are right for it.
    """

    name: str
    data: bytes = field(repr=False)
    filename: str
    expect: frozenset[int]


@dataclass(frozen=True)
class Bait:
    """What playlists and their like point at.

    Attributes:
        path: of a local, decodable recording: reading it shows as a success where a refusal is due.
        port: on loopback, where a listener must never see a connection.
    """

    path: str = "/nonexistent/canary.wav"
    port: int = 9
