"""What an upstream's error means: from status, words and headers to an error of ours. Nothing of a key gets through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from turnout.core.attempts import MIDDLE
from turnout.errors import (
    AnswerBroken,
    ContentFiltered,
    ContextWindowExceeded,
    CredentialsRefused,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestRefused,
    ModelTimeout,
    ModelUnavailable,
)

LONGEST = 400
"""Characters of an upstream's message that are kept: it is for people, and some send whole pages."""
_KEY_LIKE = re.compile(r"(?i)\bBearer\s+\S+|\b(?:sk|pk|rk)-[A-Za-z0-9_*.-]{6,}|\S*\*{4,}\S*")
_TOO_LONG = re.compile(
    r"(?i)context[_ ]?(length|window|size)|maximum context|prompt is too long|too many tokens in|"
    r"input (is|was) too long|string_above_max_length|exceed_context_size|reduce the length of the messages"
)
_FILTERED = re.compile(
    r"(?i)content[_ ]?filter|content management policy|content_policy|safety (system|policy)|moderation"
)
_NO_MONEY = re.compile(r"(?i)insufficient_quota|billing_error|credit balance|spend_limit")
_BY_STATUS: dict[int, type[ModelFailed]] = {
    400: ModelRequestRefused, 401: CredentialsRefused, 402: CredentialsRefused, 403: CredentialsRefused,
    404: ModelNotFound, 408: ModelTimeout, 409: ModelUnavailable, 413: ContextWindowExceeded, 422: ModelRequestRefused,
    429: ModelRateLimited,
}  # fmt: skip
_BY_WORD: dict[str, type[ModelFailed]] = {
    "rate_limit_error": ModelRateLimited, "rate_limit_exceeded": ModelRateLimited,
    "overloaded_error": ModelUnavailable, "server_error": ModelUnavailable, "api_error": ModelUnavailable,
    "timeout_error": ModelTimeout, "authentication_error": CredentialsRefused, "permission_error": CredentialsRefused,
    "billing_error": CredentialsRefused, "not_found_error": ModelNotFound, "model_not_found": ModelNotFound,
    "invalid_request_error": ModelRequestRefused, "invalid_prompt": ModelRequestRefused,
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What an upstream said of a failure. `status` 0: it came in the middle of an answer, or without one."""

    status: int
    message: str
    words: tuple[str, ...] = ()
    headers: Mapping[str, str] | None = None
    request_id: str = ""


def failure(said: Said, secrets: tuple[str, ...], now: datetime) -> ModelFailed:
    """The error of ours that it is."""
    kind = _kind(said)
    label = f"HTTP {said.status}" if said.status else MIDDLE
    words = ", ".join(word for word in dict.fromkeys(said.words) if word)
    text = clean(said.message, secrets)
    error = kind(f"{label}{f' ({clean(words, secrets)})' if words else ''}: {text or 'no message'}")
    error.retry_after = retry_after(said.headers or {}, now)
    error.request_id = clean(said.request_id, secrets)
    return error


def _kind(said: Said) -> type[ModelFailed]:
    all_words = " ".join((*said.words, said.message))
    if said.status in (0, 400, 403, 413, 422, 500) and _TOO_LONG.search(all_words):
        return ContextWindowExceeded
    if said.status in (0, 400, 403, 422) and _FILTERED.search(all_words):
        return ContentFiltered
    if said.status in (0, 400, 403, 429) and _NO_MONEY.search(all_words):
        return CredentialsRefused
    if said.status == 0:
        return next((_BY_WORD[word] for word in said.words if word in _BY_WORD), AnswerBroken)
    if said.status >= 500:
        return ModelTimeout if said.status == 504 else ModelUnavailable
    return _BY_STATUS.get(said.status, ModelRequestRefused)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, as the upstream says in `retry-after-ms` or `retry-after` (a number, or a date)."""
    found = {name.lower(): value for name, value in headers.items()}
    for name, scale in (("retry-after-ms", 1_000.0), ("retry-after", 1.0)):
        try:
            seconds = float(found.get(name, "")) / scale
        except ValueError:
            continue
        return seconds if 0 <= seconds < 1e9 else None
    try:
        moment = parsedate_to_datetime(found.get("retry-after", ""))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def clean(text: Any, secrets: tuple[str, ...]) -> str:
    """Text of an upstream without keys: neither the ones that were sent nor anything that looks like one."""
    found = str(text)
    for secret in secrets:
        if secret:
            found = found.replace(secret, "[key]")
    found = " ".join(_KEY_LIKE.sub("[key]", found).split())
    return found if len(found) <= LONGEST else found[: LONGEST - 3] + "..."
