"""What an attempt cost, and by which row it was reckoned. Money is whole millionths of a US dollar, rounded up."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from typing import Any

from turnout.core.attempts import Price
from turnout.core.entries import Micros
from turnout.core.messages import Usage
from turnout.models.schema import Deployment, PriceRow

MILLION = Decimal(1_000_000)
PROVIDERS = {"openai": "openai", "azure": "azure", "anthropic": "anthropic"}
"""Our providers as genai-prices names them. Behind a `base_url` there may be anybody: then only `priced_as` counts."""


def cost(terms: Deployment, model: str, usage: Usage, at: Micros) -> tuple[Price, int] | None:
    """The price row for what an upstream calls `model`, and what `usage` cost by it. None: no price is known."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    if cached > usage.input_tokens:  # whoever stands between us and the model doesn't count them in
        usage = usage.model_copy(update={"input_tokens": cached})
    if terms.price is not None:
        return _by_own_row(terms.price, usage)
    if terms.priced_as:
        provider, _, name = terms.priced_as.partition("/")
        return _by_list(provider, [name], usage, at)
    if terms.base_url and terms.provider != "azure":
        return None
    return _by_list(PROVIDERS[terms.provider], [model, terms.model], usage, at)


def micros(dollars: Decimal) -> int:
    """Whole millionths, rounded up: a cost is never reckoned too low."""
    return int((dollars * MILLION).to_integral_value(ROUND_CEILING))


def _by_own_row(row: PriceRow, usage: Usage) -> tuple[Price, int]:
    plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
    read = row.input if row.cache_read is None else row.cache_read
    write = row.input if row.cache_write is None else row.cache_write
    total = (
        plain * row.input + usage.cache_read_tokens * read + usage.cache_write_tokens * write
        + usage.output_tokens * row.output
    ) / MILLION  # fmt: skip
    said = {f"{name}_mtok": str(value) for name, value in row.model_dump(exclude_none=True).items()}
    return Price(source="turnout.toml", row=said), micros(total)


def _by_list(provider: str, names: list[str], usage: Usage, at: Micros) -> tuple[Price, int] | None:
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    counted = Counted(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens, cache_write_tokens=usage.cache_write_tokens,
    )  # fmt: skip
    when = datetime.fromtimestamp(at // 1_000_000, UTC)
    for name in filter(None, dict.fromkeys(names)):
        try:
            found = calc_price(counted, name, provider_id=provider, genai_request_timestamp=when)
        except (LookupError, ValueError):
            continue
        row = {
            key: _said(value) for key, value in vars(found.model_price).items()
            if value is not None and not key.startswith("_")
        }  # fmt: skip
        price = Price(
            source=f"genai-prices {version('genai-prices')}",
            provider=found.provider.id,
            model=found.model.id,
            row=row,
        )
        return price, micros(found.total_price)
    return None


def _said(value: Any) -> Any:
    """A price, or prices in tiers, as JSON data. Decimals are text: they must come back as they were."""
    if isinstance(value, Decimal):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _said(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_said(item) for item in value] if isinstance(value, list) else value
