"""The models of turnout.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from turnout.cli.output import console, lasted, words
from turnout.cli.tables import table_of

if TYPE_CHECKING:
    from turnout.wiring import ModelsReport


def model_tables(found: ModelsReport) -> None:
    """The aliases and deployments of turnout.toml, and what they answered."""
    out = console()
    if not found.deployments:
        what = f"{found.file} is right, and has no deployments" if found.file else "no turnout.toml here"
        more = "models are given to open_app(models=...), or declared as [deployments.NAME] in turnout.toml"
        out.print(Text(f"{what}; {more}"), soft_wrap=True)
        return
    table = table_of("model", "deployments", "retries", "when that fails")
    for alias in found.models:
        weights = alias.weights or [None] * len(alias.deployments)
        pairs = zip(alias.deployments, weights, strict=True)
        asked = ", ".join(name if weight is None else f"{name} ({weight})" for name, weight in pairs)
        fallbacks = "; ".join(f"{cause}: {', '.join(names)}" for cause, names in alias.fallbacks.items())
        cache = f"\ncache {alias.cache_seconds:g} s" if alias.cache_seconds else ""
        table.add_row(Text(alias.name), Text(asked + cache), str(alias.retries), Text(fallbacks))
    out.print(table)
    table = table_of("deployment", "provider", "model", "a minute", "$ a million tokens", "key")
    for one in found.deployments:
        limits = [f"{one.requests_per_minute} requests" if one.requests_per_minute else "",
                  f"{one.tokens_per_minute} tokens" if one.tokens_per_minute else ""]  # fmt: skip
        price = f"{one.input} in, {one.output} out" if one.input is not None else "not known"
        missing = Text(f"{', '.join(one.missing)} not set", "red") if one.missing else Text("")
        where = f"{one.provider}{f' {one.api}' if one.api != 'chat' else ''}"
        model = f"{one.model}\n{one.base_url}" if one.base_url else one.model
        table.add_row(
            Text(one.name),
            Text(where),
            Text(model),
            Text("\n".join(filter(None, limits))),
            Text(price),
            missing,
        )
    out.print()
    out.print(table)
    for answer in found.pings or ():
        if answer.error:
            out.print(Text(f"{answer.deployment}: {words(answer.error)}", "red"), soft_wrap=True)
        else:
            said = f"{answer.deployment}: answered in {lasted(answer.ms)} ({words(answer.model)})"
            out.print(Text(said, "green"), soft_wrap=True)
