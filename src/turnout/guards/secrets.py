"""Secrets: keys of known forms, private keys, tokens, and what looks like one beside a word like `password`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from turnout.core.redaction import Text
from turnout.guards.reading import Span, TextCheck

_FORMS: dict[str, tuple[tuple[str, ...], str]] = {
    # label: what a text must hold for the expression to be tried (any of these), and the expression
    "aws-key": (("AKIA", "ASIA", "ABIA", "ACCA"), r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    "github-token": (("gh", "github_pat_"), r"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}"),
    "gitlab-token": (("gl",), r"gl(?:pat|ptt|dt|rt|cbt|ft|soat|oas|agent)-[A-Za-z0-9_.-]{20,300}"),
    "slack-token": (("xox", "xapp-", "hooks.slack"),
                    r"xox[a-z]-[A-Za-z0-9-]{10,250}|xapp-[A-Za-z0-9-]{10,250}|"
                    r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{20,120}"),
    "stripe-key": (("_live_", "_test_", "whsec_"), r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/=]{24,100}"),
    "anthropic-key": (("sk-ant-",), r"sk-ant-[A-Za-z0-9_-]{20,250}"),
    "openai-key": (("sk-",), r"(?<![A-Za-z0-9])sk-(?!ant-)(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,250}"),
    "google-key": (("AIza", "GOCSPX-", "ya29."),
                   r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,60}|ya29\.[A-Za-z0-9_-]{20,500}"),
    "hugging-face-token": (("hf_",), r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,100}"),
    "npm-token": (("npm_",), r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36,100}"),
    "pypi-token": (("pypi-",), r"pypi-AgE[A-Za-z0-9_-]{50,500}"),
    "sendgrid-key": (("SG.",), r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"),
    "twilio-key": (("SK",), r"(?<![A-Za-z0-9])SK[0-9a-f]{32}(?![0-9a-f])"),
    "telegram-token": ((":",), r"(?<![A-Za-z0-9])[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    "digitalocean-token": (("do",), r"do[opr]_v1_[a-f0-9]{64}"),
    "databricks-token": (("dapi",), r"(?<![A-Za-z0-9])dapi[a-f0-9]{32}(?:-[0-9])?"),
    "azure-key": (("AccountKey=", "SharedAccessKey="), r"(?<=AccountKey=)[A-Za-z0-9+/]{40,100}={0,2}|(?<=SharedAccessKey=)[A-Za-z0-9+/]{40,100}={0,2}"),
    "age-key": (("AGE-SECRET-KEY-",), r"AGE-SECRET-KEY-1[A-Z0-9]{50,70}"),
    "jwt": (("eyJ",), r"(?:(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,8000}|eyJ[A-Za-z0-9_-]{8,1000})\.eyJ[A-Za-z0-9_-]{8,8000}(?:\.[A-Za-z0-9_-]{0,8000})?"),
}  # fmt: skip
_FOUND = {label: (marks, re.compile(form)) for label, (marks, form) in _FORMS.items()}
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9])[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,100}:(?P<value>[^\s/@\"'<>]{1,200})@"
)
_BEARER = re.compile(r"(?i)\b(?:bearer|basic)\s{1,3}(?P<value>[A-Za-z0-9+/_.~=-]{16,4000})")
_WORD = r"""pass(?:word|wd|phrase|wort)?|pwd|kennwort|contrase(?:ñ|n)a|mot[ ]de[ ]passe|secret|token|api[_ -]?key|access[_ -]?key|
    private[_ -]?key|client[_ -]?secret|auth(?:orization)?|credentials?"""
_WORDS = re.compile(
    rf"""(?ix)(?P<word>{_WORD})(?P<more>[\w-]{{0,24}})["'`]{{0,2}}
    \s{{0,4}}(?P<by>=>|:=|[:=]|\bis\b|\bist\b)\s{{0,4}}["'`]{{0,2}}(?P<value>[^\s"'`<>,;]{{6,400}})"""
)
_UNDER = re.compile(rf"(?ix)^[\w-]{{0,40}}(?:{_WORD})$")
_HINTS = ("pass", "pwd", "kennwort", "contrase", "mot de", "secret", "token", "key", "auth", "credential")
_PASSWORD = re.compile(r"(?i)^(?:pass|pwd|kennwort|contrase|mot|client.?secret)")
_NOTHING = re.compile(
    r"(?i)^(?:\W+|\$\{?.*|\{\{.*|%.*%|null|none|nil|true|false|undefined|string|required|optional|invalid|expired|missing|"
    r"changed?|reset|your[_-].*|example.*|redacted|hidden|x{3,}|<.*|\[redacted:.*)$"
)
PRIVATE, NEAR, ADDRESS, BEARER = "private-key", "secret", "password-in-address", "bearer-token"
LABELS = (*_FORMS, PRIVATE, NEAR, ADDRESS, BEARER)


def secrets(only: Sequence[str] = ()) -> TextCheck:
    """The check for secrets, or for some kinds of them."""
    wanted = frozenset(only or LABELS)
    return TextCheck(lambda text: (span for span in _spans(text) if span[0] in wanted), LABELS)


def _spans(text: Text) -> Iterator[Span]:
    said = text.text
    if len(said) < 4 or text.number:
        return
    for label, (marks, form) in _FOUND.items():
        if any(mark in said for mark in marks):
            for found in form.finditer(said):
                yield label, *found.span()
    yield from _private(said)
    if "://" in said and "@" in said:
        for found in _ADDRESS.finditer(said):
            if not _NOTHING.match(found["value"]):
                yield ADDRESS, *found.span("value")
    low = said.lower()
    if "bearer" in low or "basic" in low:
        for found in _BEARER.finditer(said):
            if "." in found["value"] or _random(found["value"]):
                yield BEARER, *found.span("value")
    if any(hint in low for hint in _HINTS):
        for found in _WORDS.finditer(said):
            if _is_secret(found["word"], found["value"], loose=found["by"].lower() in ("is", "ist")):
                yield NEAR, *found.span("value")
    under = _UNDER.match(text.under) if text.under else None
    if under and " " not in said.strip() and _is_secret(text.under, said):
        yield NEAR, 0, len(said)


def _private(said: str) -> Iterator[Span]:
    """Private keys: from their first line to their last, or to the end of the text when that is cut off."""
    at = 0
    while (start := said.find("-----BEGIN ", at)) >= 0:
        head = said[start : start + 80]
        at = start + 11
        if "PRIVATE KEY" not in head:
            continue
        end = said.find("-----END ", at)
        close = said.find("-----", end + 9) if end >= 0 else -1
        at = close + 5 if close >= 0 else len(said)
        yield PRIVATE, start, at


def _is_secret(word: str, value: str, *, loose: bool = False) -> bool:
    """Is what stands beside the word a secret, rather than a word of its own or a place to put one?"""
    value = value.strip("\\)]}.")
    if _NOTHING.match(value) or value.lower().startswith("[redacted"):
        return False
    if _PASSWORD.search(word) or "password" in word.lower() or "passwd" in word.lower():
        return len(value) >= 4 and (not loose or any(not c.isalpha() for c in value))
    return _random(value)


def _random(value: str) -> bool:
    """Does it look like chance: long, of letters and digits, and with many different ones?"""
    if len(value) < 16 or not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)):
        return False
    return entropy(value) >= 3.0


def entropy(text: str) -> float:
    """Bits a character, as far as the text itself tells."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
