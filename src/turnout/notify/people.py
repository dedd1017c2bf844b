"""People's channels (mail, Slack, Teams and the rest), through apprise.

An apprise URL holds addresses and secrets: it comes from the environment, one URL a channel, and is never shown.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, unquote

from turnout.core.notices import Notice
from turnout.errors import NoticeNotSent, SettingsInvalid
from turnout.notify import words
from turnout.notify.channels import library, variable
from turnout.notify.deliverer import AT_ONCE
from turnout.notify.schema import Channel as ChannelSettings
from turnout.ports.clock import Clock

_BETWEEN = re.compile(r"[:/@?&=]+")
_SHORT = 4
"""What has fewer characters is a secret only where it stands by itself: an error would else be hardly more than stars."""


class People:
    """Sends to one apprise URL."""

    def __init__(self, name: str, terms: ChannelSettings, base: str) -> None:
        """Raises `SettingsInvalid`: no URL, or none that apprise knows."""
        self.name = name
        self.timeout, self.attempts, self.backoff = terms.timeout, terms.attempts, terms.backoff
        self._base = base
        self._url = variable(name, terms.apprise_env)
        self._apprise = library("apprise")
        logging.getLogger(
            "apprise"
        ).propagate = False  # what it says may hold the URL; we keep it with the notice
        logging.getLogger("apprise").setLevel(logging.WARNING)
        found = self._instance()
        if found is None:
            raise SettingsInvalid(
                f"channel {name!r}: {terms.apprise_env} holds no URL that apprise knows (one, like mailtos://...)"
            )
        self._secrets = _secrets(self._url, found)
        self._threads: ThreadPoolExecutor | None = None

    def _instance(self) -> Any:
        with _Listening() as said:
            found = self._apprise.Apprise.instantiate(self._url, suppress_exceptions=True)
        del said
        if found is not None:  # how long its sockets may be silent
            found.socket_connect_timeout = found.socket_read_timeout = self.timeout
        return found

    async def send(self, notice: Notice, clock: Clock) -> None:
        if self._threads is None:
            # apprise blocks: a thread for each, else the time of one would run while it waits for another's
            self._threads = ThreadPoolExecutor(AT_ONCE, f"notify-{self.name}")
        loop = asyncio.get_running_loop()
        message = words.message(notice, self._base)
        try:
            async with asyncio.timeout(self.timeout + 1):  # the sockets' own comes first, and says more
                why = await loop.run_in_executor(self._threads, self._send, message)
        except TimeoutError:
            raise NoticeNotSent(f"not sent within {self.timeout:g} s") from None
        if why is not None:
            raise NoticeNotSent(why)

    def _send(self, message: words.Message) -> str | None:
        """Send, in a thread. Returns why not, or None."""
        with _Listening() as said:
            try:
                sent = self._instance().notify(body=message.text, title=message.title, body_format="text")
            except Exception as error:  # a plugin's own: there are a hundred of them
                said.lines.append(f"{type(error).__name__}: {error}")
                sent = False
        return (
            None if sent else self._clean("; ".join(said.lines)) or "apprise says no more than that it failed"
        )

    def _clean(self, text: str) -> str:
        return self._secrets.sub("***", text)[:500]

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _secrets(url: str, plugin: Any) -> re.Pattern[str]:
    """What is never shown, as it stands in the URL and decoded: the URL, everything long in it but a host, and however
    short it is what apprise calls private (for some services that is where others have the host) and what headers hold.
    What is shorter than `_SHORT` is masked as a word, not within others."""
    tokens = plugin.template_tokens
    host = str(getattr(plugin, "host", "")).lower() if "host" in tokens else ""
    found = {part for part in _BETWEEN.split(url) if len(part) > 7 and part.lower() != host}
    for name, term in {**tokens, **plugin.template_args}.items():
        held = getattr(plugin, str(term.get("map_to", name)), None) if term.get("private") else None
        found |= {
            one for one in (held if isinstance(held, list | tuple | set) else [held]) if isinstance(one, str)
        }
    found |= {str(value) for value in (getattr(plugin, "headers", None) or {}).values()}
    forms = {form for one in (url, *found) for form in (one, unquote(one), quote(unquote(one), safe=""))}
    return re.compile("|".join(_form(form) for form in sorted(forms, key=len, reverse=True) if form))


def _form(text: str) -> str:
    return re.escape(text) if len(text) >= _SHORT else rf"(?<!\w){re.escape(text)}(?!\w)"


class _Listening(logging.Handler):
    """What apprise says in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())

    def __enter__(self) -> _Listening:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
