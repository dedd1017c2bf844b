"""What a request shows of who sends it, without a word of any web framework's."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from turnout.errors import RightMissing

LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROXIED = re.compile("forwarded|x-forwarded-.+|x-real-ip|via")
"""Headers that a proxy sets, with what it knows of who asked."""


@dataclass(frozen=True)
class Shown:
    """`bearer` is the token of `Authorization: Bearer ...`, `cookie` the secret of the session's cookie, `csrf` what a page
    sends along with it, `changes` whether the request may change something. `host`, `origin` and `site` are the headers
    Host, Origin and Sec-Fetch-Site; `proxied` is whether a proxy says that it passes the request on."""

    bearer: str = ""
    cookie: str = ""
    csrf: str = ""
    changes: bool = True
    host: str = ""
    origin: str = ""
    site: str = ""
    proxied: bool = False

    @property
    def secret(self) -> str:
        """What the door looks at, of both."""
        return self.bearer or self.cookie

    def check_local(self) -> None:
        """Where nobody signs in, a page of another site must not be able to make the browser ask for it: neither under a
        name of its own that leads here, nor across sites. And what a proxy on this machine passes on comes from anywhere.
        Raises `RightMissing`."""
        if self.proxied:
            raise RightMissing(
                "this request came through a proxy, and so from anywhere: without a token only this machine is served; make "
                "one with `turnout token create NAME --role admin`"
            )
        name = re.sub(r":\d*$", "", self.host)
        foreign = self.origin and self.origin.partition("://")[2] != self.host
        if name not in LOCAL or self.site not in ("", "none", "same-origin") or foreign:
            raise RightMissing("without a token only pages and programs of this machine are served")


def is_proxied(headers: Iterable[str]) -> bool:
    """Does a request with headers of these names come through a proxy?"""
    return any(PROXIED.fullmatch(name.lower()) for name in headers)


def is_loopback(host: str) -> bool:
    """Can only this machine reach it?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Is it an address that only this machine can reach?"""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
