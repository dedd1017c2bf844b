"""What a request shows of who sends it, without a word of any web framework's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from turnout.errors import RightMissing

LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class Shown:
    """`bearer` is the token of `Authorization: Bearer ...`, `cookie` the secret of the session's cookie, `csrf` what a page
    sends along with it, `changes` whether the request may change something. `host`, `origin` and `site` are the headers
    Host, Origin and Sec-Fetch-Site."""

    bearer: str = ""
    cookie: str = ""
    csrf: str = ""
    changes: bool = True
    host: str = ""
    origin: str = ""
    site: str = ""

    @property
    def secret(self) -> str:
        """What the door looks at, of both."""
        return self.bearer or self.cookie

    def check_local(self) -> None:
        """Where nobody signs in, a page of another site must not be able to make the browser ask for it: neither under a
        name of its own that leads here, nor across sites. Raises `RightMissing`."""
        name = re.sub(r":\d*$", "", self.host)
        foreign = self.origin and self.origin.partition("://")[2] != self.host
        if name not in LOCAL or self.site not in ("", "none", "same-origin") or foreign:
            raise RightMissing("without a token only pages and programs of this machine are served")
