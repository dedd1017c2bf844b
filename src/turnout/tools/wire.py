"""Errors of the way to a server and back, as messages of the protocol: so each reaches the one request that it is of."""

from __future__ import annotations

TOO_LARGE = -31_001
"""The answer is larger than it may be."""
NOT_SENT = -31_002
"""The request hasn't left: nothing can have happened."""
REFUSED = -31_003
"""An HTTP status says so."""
LARGEST_LIST = 4_000_000
"""Bytes of a message that are held in any case: a list of many tools has to fit."""


def message_limit(result_bytes: int) -> int:
    """Bytes of a message that are held. JSON in JSON, and text with every character escaped, are larger than what they
    come to."""
    return max(LARGEST_LIST, 4 * result_bytes)


def too_large(limit: int) -> str:
    return f"the answer is larger than the {limit} bytes that are read of one"
