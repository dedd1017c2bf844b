"""Cursors: where the next page of a list begins. For clients they have no meaning but to be handed back."""

from __future__ import annotations

import base64
import binascii

from turnout.errors import InputInvalid


def cursor(behind: str) -> str:
    """The cursor of the page behind what `behind` names."""
    return base64.urlsafe_b64encode(behind.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def behind(given: str) -> str:
    """What a cursor says. Raises `InputInvalid`."""
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise InputInvalid("that is no cursor; take `next` of the page before as it is") from None
