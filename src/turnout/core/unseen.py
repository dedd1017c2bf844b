"""Characters that show nothing where they stand: a model reads them, a person doesn't."""

from __future__ import annotations

import re
import unicodedata

SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Variation selectors, for a character class of an expression. Any bytes can be written in them."""
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0"
"""Others that count as letters, marks or signs."""
_IGNORABLE = re.compile(f"[{SELECTORS}{FILLERS}\u2060-\u206f\ufff0-\ufff8\U000e0000-\U000e0fff]")
"""What a font may leave out (Unicode's Default_Ignorable_Code_Point), as far as Python takes it for printable."""
_EMOJI = ("\ufe0e", "\ufe0f")


def written_out(text: str) -> str:
    """Text with everything written out that can't be seen: zero-width and control characters, odd blanks, fillers. A
    selector that makes a sign an emoji stays."""
    if text.isascii() and text.isprintable():
        return text
    made: list[str] = []
    for at, c in enumerate(text):
        sign = c in _EMOJI and at > 0 and unicodedata.category(text[at - 1]) == "So"
        if sign or (c.isprintable() and not _IGNORABLE.match(c)):
            made.append(c)
        else:
            made.append(f"\\u{ord(c):04x}" if c <= "\uffff" else f"\\U{ord(c):08x}")
    return "".join(made)
