"""The table `[serve]` of turnout.toml: what `turnout serve` takes in, and where it is reached."""

from __future__ import annotations

from pydantic import Field

from turnout.settings_file import Section


class Serve(Section):
    """`[serve]`.

    `url` is the address that people reach it at, when that isn't the one it listens at. `body` is the longest request
    (bytes). Each caller may make `rate` requests a second, and `burst` at once. `cors` lists the origins whose pages may
    call the API: none, unless said. `wait` is the longest that a request may ask to wait (seconds).
    """

    url: str = ""
    body: int = Field(1_048_576, ge=1024)
    rate: float = Field(50.0, gt=0)
    burst: int = Field(200, ge=1)
    cors: tuple[str, ...] = ()
    wait: float = Field(60.0, ge=0)


class ServeSettings(Section):
    """What a turnout.toml says about serving."""

    serve: Serve = Serve()
