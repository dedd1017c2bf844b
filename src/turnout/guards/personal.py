"""Personal data: numbers and addresses of forms that can be told from others, with their check digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from turnout.core.redaction import Text
from turnout.guards.reading import Span, TextCheck

FEWEST = 6
"""Digits: a text with fewer has no number of a person's in it."""
_DIGIT = re.compile(r"\d")
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_LOOSE_EMAIL = re.compile(r"[^\s@<>()\[\]\"',;:]{1,64}@[^\s@<>()\[\]\"',;:/]{1,190}\.[^\W\d_]{2,24}")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+|00)(?=[1-9])\d{1,3}(?:[ ./()-]{0,2}\d){6,13}(?![\w])"
    r"|(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])"
)
_PHONE_NEAR = re.compile(
    r"(?i)(?:tel(?:efon|ephone|éfono)?|phone|mobil[a-z]{0,3}|cell|handy|fax|call(?: me)?(?: at)?|rufnummer)\W{0,6}(?P<value>\(?0\d(?:[ ./()-]{0,2}\d){5,12})(?!\d)"
)
_DIGITS = re.compile(r"(?<![\d.])(?:\d[ -]?){12,}\d(?!\d)")
_CARD = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6|5[0678]")
_IBAN = re.compile(r"(?i)(?<![a-z0-9])[a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11,32}")
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\d-])")
_NINO = re.compile(
    r"(?i)(?<![a-z0-9])(?!bg|gb|nk|kn|tn|nt|zz)[a-ceghj-prstw-z][a-ceghj-npr-tw-z] ?\d{2} ?\d{2} ?\d{2} ?[a-d](?![a-z0-9])"
)
_DNI = re.compile(r"(?i)(?<![a-z0-9])([xyz]?)(\d{7,8})-?([a-z])(?![a-z0-9])")
_NIR = re.compile(
    r"(?<!\d)[12][ ]?\d{2}[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d{2}|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d{2}(?!\d)"
)
_AHV = re.compile(r"(?<!\d)756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}(?!\d)")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip


def personal(only: Sequence[str] = ()) -> TextCheck:
    """The check for personal data, or for some kinds of it."""
    wanted = {label: find for label, find in _KINDS.items() if not only or label in only}

    def find_all(text: Text) -> Iterator[Span]:
        numbers = len(_DIGIT.findall(text.text)) >= FEWEST
        for label, find in wanted.items():
            if numbers or label == "email":
                yield from find(text.text)

    return TextCheck(find_all, LABELS)


def luhn(digits: str) -> bool:
    """Is the last digit the check digit of the others, as on cards?"""
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        form = _EMAIL if text.isascii() else _LOOSE_EMAIL
        for found in form.finditer(text):
            yield "email", *found.span()


def _phones(text: str) -> Iterator[Span]:
    for found in _PHONE.finditer(text):
        if 8 <= sum(c.isdigit() for c in found[0]) <= 16:
            yield "phone", *found.span()
    if "0" in text:
        for found in _PHONE_NEAR.finditer(text):
            yield "phone", *found.span("value")


def _cards(text: str) -> Iterator[Span]:
    for found in _DIGITS.finditer(text):
        whole = found[0]
        groups = [group.span() for group in re.finditer(r"\d+", whole)]
        for first, (start, _) in enumerate(groups):  # a number beside it is no part of the card's
            ends, count = [], 0
            for group, end in groups[first : first + 19]:
                count += end - group
                if count > 19:
                    break
                if count >= 13:
                    ends.append(end)
            for end in reversed(ends):
                digits = re.sub(r"\D", "", whole[start:end])
                if _CARD.match(digits) and luhn(digits):
                    yield "card", found.start() + start, found.start() + end
                    break


def _ibans(text: str) -> Iterator[Span]:
    at = 0
    while found := _IBAN.search(text, at):
        at = found.start() + 1  # what follows may be another one: the form runs on over it
        length = _IBAN_LENGTHS.get(found[0][:2].upper())
        if length is None:
            continue
        places = [place for place, char in enumerate(found[0]) if char.isalnum()][:length]
        if len(places) == length and _iban_holds("".join(found[0][place].upper() for place in places)):
            at = found.start() + places[-1] + 1
            yield "iban", found.start(), at


def _iban_holds(iban: str) -> bool:
    number = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
    return int(number) % 97 == 1


def _ssns(text: str) -> Iterator[Span]:
    for found in _SSN.finditer(text):
        yield "us-ssn", *found.span()


def _ninos(text: str) -> Iterator[Span]:
    for found in _NINO.finditer(text):
        yield "uk-nino", *found.span()


def _dnis(text: str) -> Iterator[Span]:
    for found in _DNI.finditer(text):
        lead, digits, letter = found.groups()
        if len(digits) + len(lead) == 8:
            number = int(({"x": "0", "y": "1", "z": "2"}.get(lead.lower(), "")) + digits)
            if "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == letter.upper():
                yield "es-dni", *found.span()


def _nirs(text: str) -> Iterator[Span]:
    for found in _NIR.finditer(text):
        digits = found[0].replace(" ", "").replace("2A", "19").replace("2B", "18")
        if len(digits) == 15 and 97 - int(digits[:13]) % 97 == int(digits[13:]):
            yield "fr-nir", *found.span()


def _ahvs(text: str) -> Iterator[Span]:
    for found in _AHV.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        total = sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(digits[:12]))
        if (10 - total % 10) % 10 == int(digits[12]):
            yield "ch-ahv", *found.span()


_KINDS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": _emails, "phone": _phones, "iban": _ibans, "card": _cards, "us-ssn": _ssns, "uk-nino": _ninos,
    "es-dni": _dnis, "fr-nir": _nirs, "ch-ahv": _ahvs,
}  # fmt: skip
LABELS = tuple(_KINDS)
