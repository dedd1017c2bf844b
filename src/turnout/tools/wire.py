"""The way to a server and back. What goes wrong on it is told as an error of the protocol: so each reaches the one
request that it is of. Whether a request has left at all is told beside the protocol, which a server can speak, too."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

TOO_LARGE = -31_001
"""The answer is larger than it may be."""
REFUSED = -31_003
"""It didn't come through, or an HTTP status says so."""
LARGEST_LIST = 4_000_000
"""Bytes of a message that are held in any case: a list of many tools has to fit."""


@dataclass
class Sending:
    """What our side of the connection has seen of one call: has any of it got `through`, and if not, why it is `unheard`.

    Nothing in an answer counts here: a server may pay and then say whatever it likes.
    """

    through: bool = False
    unheard: str = ""


SENDING: ContextVar[Sending | None] = ContextVar("SENDING", default=None)
"""The call that a request is for: the SDK sends each in the context of who asked for it."""


def message_limit(result_bytes: int) -> int:
    """Bytes of a message that are held. JSON in JSON, and text with every character escaped, are larger than what they
    come to."""
    return max(LARGEST_LIST, 4 * result_bytes)


def too_large(limit: int) -> str:
    return f"the answer is larger than the {limit} bytes that are read of one"
