"""What a turnout.toml has of models, as data; and whether its deployments answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from turnout.core.messages import Message, ModelRequest, Usage
from turnout.errors import TurnoutError
from turnout.models import prices
from turnout.models.gateway import Gateways
from turnout.models.schema import Alias, Deployment, Fallbacks

QUESTION = ModelRequest(
    alias="ping", messages=(Message(role="user", content="Say ok."),), options={"max_output_tokens": 16}
)


@dataclass(frozen=True)
class DeploymentReport:
    """A deployment. `missing` are the environment variables that it needs and that aren't set; `input` and `output` are
    what a million tokens cost in US dollars, None when that isn't known; `price` says by whose word."""

    name: str
    provider: str
    model: str
    api: str
    base_url: str
    missing: tuple[str, ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    input: str | None
    output: str | None
    price: str


@dataclass(frozen=True)
class AliasReport:
    """An alias: what is asked in which order (or, with weights, by chance), and what else when that fails."""

    name: str
    deployments: tuple[str, ...]
    weights: tuple[int, ...]
    retries: int
    fallbacks: dict[str, tuple[str, ...]]
    cache_seconds: float | None


@dataclass(frozen=True)
class Ping:
    """What a deployment answered to a question of two words. `error` is empty when it did."""

    deployment: str
    ms: int
    model: str
    error: str
    cost_micros: int | None


@dataclass(frozen=True)
class ModelsReport:
    """All of a file, in its order. `pings` is None when nobody was asked, `file` when there is none."""

    deployments: tuple[DeploymentReport, ...] = ()
    models: tuple[AliasReport, ...] = ()
    pings: tuple[Ping, ...] | None = None
    file: Path | None = None


def describe(found: Gateways, environment: Mapping[str, str] | None = None) -> ModelsReport:
    """What the file says, and which of its keys are in the environment."""
    given, now = os.environ if environment is None else environment, found.clock.now()
    return ModelsReport(
        tuple(_deployment(name, terms, now, given) for name, terms in found.settings.deployments.items()),
        tuple(_alias(name, terms) for name, terms in found.settings.models.items()),
    )


async def ping(found: Gateways, deployment: str) -> Ping:
    """Ask a deployment, once. It costs what a few tokens cost."""
    begun, terms = found.clock.now(), found.settings.deployments[deployment]
    model = error = ""
    cost = None
    try:
        upstream = found.upstream(deployment)
        await upstream.open()
        begun = found.clock.now()
        reply = await upstream.complete(QUESTION, lambda event: None)
        model = reply.model
        priced = prices.cost(terms, reply.model, reply.usage, begun)
        cost = priced[1] if priced is not None else None
    except TurnoutError as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Ping(deployment, (found.clock.now() - begun) // 1_000, model, error, cost)


def _deployment(name: str, terms: Deployment, now: int, environment: Mapping[str, str]) -> DeploymentReport:
    wanted = [terms.key_env, *terms.headers_env.values()]
    missing = tuple(variable for variable in wanted if variable and not environment.get(variable, "").strip())
    return DeploymentReport(
        name, terms.provider, terms.model, terms.api, terms.base_url, missing, terms.requests_per_minute,
        terms.tokens_per_minute, *_price(terms, now),
    )  # fmt: skip


def _price(terms: Deployment, now: int) -> tuple[str | None, str | None, str]:
    """What a million tokens in and a million out cost, and by whose word. In tiers: the price of so many at once."""
    try:
        into = prices.cost(terms, terms.model, Usage(input_tokens=1_000_000), now)
        out = prices.cost(terms, terms.model, Usage(output_tokens=1_000_000), now)
    except ImportError:
        return None, None, "genai-prices isn't installed"
    if into is None or out is None:
        return None, None, "not known"
    return _dollars(into[1]), _dollars(out[1]), into[0].source


def _dollars(micros: int) -> str:
    return f"{Decimal(micros) / 1_000_000:f}"


def _alias(name: str, terms: Alias) -> AliasReport:
    causes = {cause: terms.fallbacks.of(cause) for cause in Fallbacks.model_fields}
    return AliasReport(
        name,
        tuple(share.name for share in terms.deployments),
        tuple(share.weight for share in terms.deployments if share.weight is not None),
        terms.retries,
        {cause: names for cause, names in causes.items() if names},
        terms.cache.seconds if terms.cache is not None else None,
    )
