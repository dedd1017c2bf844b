"""What turnout.toml may say of MCP servers: how each is reached, what its tools do, and who may call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from turnout.settings_file import Section

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0, le=1_000_000_000)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Kind = Literal["text", "json", "image", "audio", "resource", "link"]
ANY = "*"
_NO_SECRETS = "secrets don't belong in the file: put it into an environment variable and name that"
_SECRET_HEADERS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}


class Caller(Section):
    """Who may call a tool: a node of a graph, or "*" for all of its nodes."""

    graph: str = Field(min_length=1)
    node: str = Field(min_length=1)

    @property
    def text(self) -> str:
        return f"{self.graph}/{self.node}"


class Declared(Section):
    """What a tool does, by our word. Nothing that the server says of itself counts here.

    `takes_key` names the argument in which the tool takes an idempotency key; Turnout fills it. `errors` says what an
    error that the tool answers with means for a write. `time_limit` is in seconds.
    """

    hints: ClassVar[Mapping[str, str]] = {
        "read_only": 'say effect = "read"',
        "node": "say allow = [{ graph = ..., node = ... }]",
        "graph": "say allow = [{ graph = ..., node = ... }]",
    }
    effect: Literal["pure", "read", "write"]
    takes_key: str = ""
    errors: Literal["unknown", "did_not_happen"] = "unknown"
    time_limit: Seconds | None = None
    untrusted: bool = True
    allow: tuple[Caller, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Declared:
        if self.effect != "write" and (self.takes_key or self.errors != "unknown"):
            raise ValueError('takes_key and errors are for effect = "write"')
        return self

    def allows(self, graph: str, node: str) -> bool:
        """May this node of this graph call the tool?"""
        return any(one.graph == graph and one.node in (node, ANY) for one in self.allow)


class Server(Section):
    """An MCP server: a process of ours (`command`), or one that is reached over HTTP (`url`). Times are in seconds.

    Of our environment a process gets PATH and what `env_env` names, nothing else. `connect` is for a connection and
    for a list of the tools, `call` for a call of a tool that has no time limit of its own. The tools are listed anew
    when the list is older than `recheck`, and when the server says that they have changed. Results may be as large as
    `result_bytes` and of the kinds in `content`.
    """

    hints: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("key", "token", "api_key", "password", "secret"), _NO_SECRETS),
        "env": "name the variables that the process gets in env_env",
        "timeout": "there are connect and call",
    }
    command: str = ""
    args: tuple[str, ...] = ()
    env_env: tuple[Variable, ...] = ()
    url: str = ""
    headers: dict[str, str] = {}
    headers_env: dict[str, Variable] = {}
    connect: Seconds = 20.0
    call: Seconds = 60.0
    recheck: Seconds = 60.0
    result_bytes: Bytes = 1_000_000
    content: tuple[Kind, ...] = ("text", "json")
    tools: dict[str, Declared] = {}

    @field_validator("url")
    @classmethod
    def _is_an_address_without_a_password(cls, address: str) -> str:
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("it must look like http://127.0.0.1:8000/mcp")
        if parts.username or parts.password:
            raise ValueError(_NO_SECRETS)
        return address

    @field_validator("headers")
    @classmethod
    def _hold_no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(f"{name!r} holds a secret: name an environment variable in headers_env")
        return headers

    @model_validator(mode="after")
    def _is_whole(self) -> Server:
        if bool(self.command) == bool(self.url):
            raise ValueError("say either command (a process) or url (over HTTP)")
        if self.command and (self.headers or self.headers_env):
            raise ValueError("headers and headers_env are for url")
        if self.url and (self.args or self.env_env):
            raise ValueError("args and env_env are for command")
        return self

    @property
    def address(self) -> str:
        """Where it is, in words."""
        return self.url or " ".join((self.command, *self.args))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that it needs."""
        return (*self.env_env, *self.headers_env.values())


class ToolSettings(Section):
    """The table `mcp` of turnout.toml."""

    mcp: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], Server] = {}
