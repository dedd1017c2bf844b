"""models: what turnout.toml has of models, and whether they answer."""

from __future__ import annotations

import asyncio

import click

from turnout.cli.options import json_option


@click.command()
@click.option(
    "--config",
    metavar="FILE",
    help="The file (or set TURNOUT_CONFIG). [default: turnout.toml, if it is there]",
)
@click.option(
    "--ping", is_flag=True, help="Ask every deployment a question of two words. It costs what that costs."
)
@json_option
def models(config: str | None, ping: bool, as_json: bool) -> None:
    """Show the models of turnout.toml.

    The file is checked; every mistake in it is told with its line. Deployments whose key isn't in the environment are
    marked.

    Exits with 1 when the file has a mistake, or, with --ping, when a deployment doesn't answer. --json gives an object
    with deployments (name, provider, model, api, base_url, missing, requests_per_minute, tokens_per_minute, input,
    output, price), models (name, deployments, weights, retries, fallbacks, cache_seconds), and with --ping with pings
    (deployment, ms, model, error, cost_micros).

    \b
    Example:
      turnout models --json
    """
    from turnout.cli.model_cards import model_tables
    from turnout.cli.output import print_json, progress
    from turnout.errors import SettingsInvalid
    from turnout.wiring import describe_models

    try:
        with progress("asking") as tick:
            found = asyncio.run(describe_models(config, ping=ping, tick=tick))
    except SettingsInvalid as error:
        for problem in str(error).splitlines():
            click.echo(f"problem: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    if as_json:
        shown = {"deployments": found.deployments, "models": found.models}
        print_json(shown if found.pings is None else {**shown, "pings": found.pings})
    else:
        model_tables(found)
    if any(one.error for one in found.pings or ()):
        raise click.exceptions.Exit(1)
