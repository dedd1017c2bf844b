"""What turnout.toml may say of models: deployments, and the aliases that are served by them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from turnout.core.messages import MOST_TOKENS
from turnout.settings_file import Section, nearest

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Rate = Annotated[int, Field(gt=0)]
DEAREST = 1_000_000
"""US dollars that a million tokens may cost. At more the cost of a call with `MOST_TOKENS` would be no number that a store
can keep."""
Money = Annotated[Decimal, Field(ge=0, le=DEAREST, allow_inf_nan=False)]
BOUNDS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
"""Options that bound an answer, as we and the upstreams name them."""
_NO_KEYS = (
    'keys don\'t belong in the file: put it into an environment variable and name that: key_env = "..."'
)
_SECRET_HEADERS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}


class PriceRow(Section):
    """What a million tokens cost, in US dollars. Cached tokens cost what `input` says unless they have a price."""

    input: Money
    output: Money
    cache_read: Money | None = None
    cache_write: Money | None = None


class Deployment(Section):
    """One model at one place, and how it is asked. Times are in seconds.

    `timeout` is for a whole attempt, `stall` for the next piece of a streamed answer. `output` says how an answer of a
    type is asked for: `schema` (the upstream keeps to the JSON schema), `json` (the upstream keeps to JSON, the schema
    is in the prompt) or `prompt` (the schema is in the prompt, nothing else). `options` go along with every request.
    The limits are kept by each process for itself. After `cooldown_after` failures in a row the deployment is left
    alone for `cooldown`.
    """

    hints: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("key", "api_key", "apikey", "token", "secret", "password", "auth_token"), _NO_KEYS
    )
    provider: Literal["openai", "azure", "anthropic"]
    model: str = Field(min_length=1)
    api: Literal["chat", "responses"] = "chat"
    base_url: str = ""
    key_env: str = Field(default="", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$|^$")
    api_version: str = ""
    headers: dict[str, str] = {}
    headers_env: dict[str, str] = {}
    timeout: Seconds = 120.0
    stall: Seconds = 60.0
    stream: bool = True
    output: Literal["schema", "json", "prompt"] = "schema"
    options: dict[str, Any] = {}
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    cooldown: Wait = 30.0
    cooldown_after: Annotated[int, Field(ge=1)] = 3
    price: PriceRow | None = None
    priced_as: str = Field(default="", pattern=r"^[\w.-]+/.+$|^$")

    @field_validator("options", mode="before")
    @classmethod
    def _has_plain_numbers(cls, options: Any) -> Any:
        return _plain(options)

    @field_validator("options")
    @classmethod
    def _bound_the_answer_by_whole_numbers(cls, options: dict[str, Any]) -> dict[str, Any]:
        answer_bound(options)
        return options

    @field_validator("base_url")
    @classmethod
    def _is_an_address_without_a_password(cls, address: str) -> str:
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("it must look like http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError(_NO_KEYS)
        return address

    @field_validator("headers")
    @classmethod
    def _hold_no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(
                    f"{name!r} holds a secret: name an environment variable in headers_env instead"
                )
        return headers

    @model_validator(mode="after")
    def _is_whole(self) -> Deployment:
        if self.provider == "azure" and not (self.base_url and self.api_version and self.key_env):
            raise ValueError("azure needs base_url (the resource's address), api_version and key_env")
        if self.provider == "anthropic" and self.api != "chat":
            raise ValueError("api is for openai and azure; anthropic has one only")
        return self


def answer_bound(options: Mapping[str, Any]) -> int | None:
    """How many tokens an answer may have by these options: the most that any of them says, for all of them are sent. None:
    nothing bounds it. Raises `ValueError` for what is no whole number above 0."""
    given = {name: options[name] for name in BOUNDS if options.get(name) is not None}
    for name, value in given.items():
        if type(value) is not int or not 0 < value <= MOST_TOKENS:
            raise ValueError(
                f"{name} must be a whole number above 0 and not above {MOST_TOKENS}; it is {value!r}"
            )
    return max(given.values(), default=None)


def _plain(value: Any) -> Any:
    """TOML data as JSON data: the reader gives Decimals."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


class Share(Section):
    """A deployment's place in an alias. With weights the choice is by chance, without them in the order given."""

    name: str
    weight: Annotated[int, Field(gt=0)] | None = None


def _share(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


class Fallbacks(Section):
    """Which aliases are asked when this one failed, by what the failure was, in order."""

    error: tuple[str, ...] = ()
    rate_limit: tuple[str, ...] = ()
    context_window: tuple[str, ...] = ()
    content_filter: tuple[str, ...] = ()

    def of(self, cause: str) -> tuple[str, ...]:
        """The aliases for a cause."""
        found: tuple[str, ...] = getattr(self, cause)
        return found


class Cache(Section):
    """Answers to requests that are equal to the last byte are kept: by each process, for so many seconds, at most so
    many of them."""

    seconds: Seconds
    entries: Rate = 1_000


class Alias(Section):
    """What `ctx.model(alias)` reaches. Times are in seconds.

    `retries` is how many more attempts are made on the deployments of this alias in one call. Between two attempts on
    one deployment `first_wait` passes, twice that before the next one, and so on; an upstream's Retry-After goes
    before. Nothing is waited for longer than `longest_wait`, and the whole call takes no longer than `deadline`.
    """

    deployments: tuple[Annotated[Share, BeforeValidator(_share)], ...]
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    first_wait: Wait = 0.5
    longest_wait: Wait = 30.0
    deadline: Seconds = 300.0
    fallbacks: Fallbacks = Fallbacks()
    cache: Cache | None = None

    @model_validator(mode="after")
    def _is_ordered_or_weighted(self) -> Alias:
        names = [share.name for share in self.deployments]
        if not names:
            raise ValueError("deployments names none")
        if len(set(names)) < len(names):
            raise ValueError("deployments names one twice")
        weights = [share.weight for share in self.deployments]
        if any(weights) and not all(weights):
            raise ValueError(
                "give all deployments a weight (then chance decides), or none (then their order)"
            )
        return self

    @property
    def weighted(self) -> bool:
        return self.deployments[0].weight is not None


class ModelSettings(Section):
    """The tables `deployments` and `models` of turnout.toml."""

    deployments: dict[str, Deployment] = {}
    models: dict[str, Alias] = {}

    @model_validator(mode="after")
    def _names_what_there_is(self) -> ModelSettings:
        problems = []
        for name, alias in self.models.items():
            for share in alias.deployments:
                if share.name not in self.deployments:
                    hint = nearest(share.name, self.deployments)
                    problems.append(f"model {name!r} names the deployment {share.name!r}; {hint}")
            for cause in Fallbacks.model_fields:
                for other in alias.fallbacks.of(cause):
                    if other == name:
                        problems.append(f"model {name!r} falls back to itself")
                    elif other not in self.models:
                        hint = nearest(other, self.models)
                        problems.append(f"model {name!r} falls back to the model {other!r}; {hint}")
        if problems:
            raise ValueError("; ".join(problems))
        return self
