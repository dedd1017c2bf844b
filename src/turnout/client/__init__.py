"""The client of a server: `connect("https://turnout.example", token="tt_...")` gives what `open_app` gives, over HTTP.

async with connect("http://127.0.0.1:8700", token=token) as app:
    outcome = await app.run("refunds", {"order": "A-17"})
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from turnout.core.graph import Graph
from turnout.errors import SettingsInvalid

if TYPE_CHECKING:
    from turnout.client.remote import Remote

PATIENCE = 30.0
"""Seconds for which a request that can't be answered is sent again."""


def connect(
    url: str,
    *,
    token: str = "",
    graphs: Iterable[Graph] = (),
    patience: float = PATIENCE,
    verify: bool | str = True,
) -> Remote:
    """The app behind a server's address, as who the token is for. Use it as `async with connect(...) as app`.

    The state of a run is given as the model of its graph when that is among `graphs`, else as an object with the fields
    that came. What can be sent again without harm (every read, and what has an idempotency key) is sent again for
    `patience` seconds while the server can't be reached or is too busy. `verify` is False, or a file of certificates
    to trust. Raises `SettingsInvalid`.
    """
    try:
        from turnout.client.remote import Remote
        from turnout.client.wire import Wire
    except ImportError as error:
        raise SettingsInvalid(f"a client needs {error.name}; run `pip install 'turnout[serve]'`") from None
    if not url.startswith(("http://", "https://")):
        raise SettingsInvalid(f"{url!r} is not a server's address; it looks like http://127.0.0.1:8700")
    return Remote(Wire(url, token, patience, verify), {graph.name: graph.build() for graph in graphs})
