"""A webhook: notices posted to one address, signed to the Standard Webhooks scheme.

The address is the one that turnout.toml names, and no other: redirects aren't followed.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from turnout.core.notices import Notice
from turnout.errors import NoticeNotSent, SettingsInvalid
from turnout.notify import words
from turnout.notify.channels import library, variable
from turnout.notify.schema import Channel as ChannelSettings
from turnout.ports.clock import Clock, at

_GONE = 410
_READ = 300
"""Characters of an answer that are kept when it is a refusal."""


class Webhook:
    """Posts to one address."""

    def __init__(self, name: str, terms: ChannelSettings, base: str) -> None:
        """Raises `SettingsInvalid`: no secret, or none that the scheme knows."""
        self.name = name
        self.timeout, self.attempts, self.backoff = terms.timeout, terms.attempts, terms.backoff
        self._address = terms.webhook
        self._base = base
        secrets = variable(name, terms.secret_env).split()  # several, while receivers go from one to the next
        webhooks = library("standardwebhooks.webhooks")
        try:
            self._signers = [webhooks.Webhook(secret) for secret in secrets]
        except (webhooks.EmptyWebhookSecretError, binascii.Error, ValueError):
            raise SettingsInvalid(
                f"channel {name!r}: {terms.secret_env} holds no webhook secret; one looks like whsec_ and base64 "
                f"(`openssl rand -base64 32`)"
            ) from None
        self._httpx = library("httpx")
        self._client: Any = None

    async def send(self, notice: Notice, clock: Clock) -> None:
        body = words.payload(notice, self._base)
        moment = at(clock.now())
        headers = {
            "content-type": "application/json",
            "user-agent": "turnout",
            "webhook-id": notice.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(s.sign(notice.id, moment, body.decode()) for s in self._signers),
        }
        if self._client is None:
            self._client = self._httpx.AsyncClient(timeout=self.timeout, follow_redirects=False)
        try:
            async with self._client.stream("POST", self._address, content=body, headers=headers) as answer:
                if answer.is_success:
                    return
                said = await _beginning(answer)
        except self._httpx.TimeoutException:
            raise NoticeNotSent(f"no answer within {self.timeout:g} s") from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            raise NoticeNotSent(f"{type(error).__name__}: {error}") from None
        raise _refusal(answer.status_code, answer.headers.get("retry-after", ""), said, moment)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _beginning(answer: Any) -> str:
    """The first words of an answer, however long it is."""
    text = ""
    async for piece in answer.aiter_text():
        text += piece
        if len(text) >= _READ:
            break
    return " ".join(text[:_READ].split())


def _refusal(status: int, retry_after: str, said: str, now: datetime) -> NoticeNotSent:
    why = f"HTTP {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        why = f"HTTP {status}: redirects aren't followed"
    return NoticeNotSent(why, final=status == _GONE, wait=seconds_of(retry_after, now))


def seconds_of(retry_after: str, now: datetime) -> float | None:
    """What a Retry-After header says: seconds, or a date. None when it says nothing."""
    text = retry_after.strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
