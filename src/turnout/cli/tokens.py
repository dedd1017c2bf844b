"""API tokens: make, list, revoke."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from turnout.cli.options import json_option, store_option
from turnout.errors import InputInvalid

if TYPE_CHECKING:
    from turnout.service.access.tokens import NewToken, Token
    from turnout.service.app import App

UNITS = {"m": 60, "h": 3600, "d": 86_400}


@click.group()
def token() -> None:
    """Make, list and revoke API tokens.

    A token signs somebody in to `turnout serve`, API and console. Its secret is shown once, when it is made.

    \b
    Example:
      turnout token create dana --role reviewer --review-role finance --expires 90d
      turnout token list
      turnout token revoke 5f0c2a9d1e77
    """


@token.command("create")
@click.argument("who", metavar="NAME")
@click.option(
    "--role", "roles", required=True, multiple=True, metavar="ROLE",
    help="viewer, operator, reviewer or admin. May be given again.",
)  # fmt: skip
@click.option(
    "--review-role", "review_roles", multiple=True, metavar="ROLE",
    help="A role that reviews ask for. May be given again.",
)  # fmt: skip
@click.option("--tenant", metavar="NAME", help="Nothing but this tenant's threads; else all.")
@click.option("--expires", metavar="TIME", help="After so long: 30m, 12h, 90d. Else never.")
@store_option
@json_option
def create_token(
    who: str, roles: tuple[str, ...], review_roles: tuple[str, ...], tenant: str | None, expires: str | None, store: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Make a token for somebody, and show its secret.

    --json gives token (id, who, roles, review_roles, tenant, created_at, expires_at, revoked_at, by) and secret.

    \b
    Example:
      turnout token create dana --role reviewer --review-role finance --expires 90d
    """
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app
    from turnout.service.access.tokens import create

    lasts = _seconds(expires) if expires is not None else None

    async def job(app: App) -> NewToken:
        now = app.clock.now()
        ends = now + int(lasts.total_seconds() * 1_000_000) if lasts is not None else None
        return await create(
            app.store,
            now,
            who,
            roles,
            review_roles=review_roles,
            tenant=tenant,
            expires_at=ends,
            by="turnout token",
        )

    made = with_app(store, job, create=True)
    if as_json:
        print_json(made)
        return
    click.echo(f"token {made.token.id} for {who} ({', '.join(roles)}); this is shown once:", err=True)
    click.echo(made.secret)


@token.command("list")
@store_option
@json_option
def list_tokens(store: str, as_json: bool) -> None:
    """List the tokens, also those that don't count any more.

    --json gives objects with id, who, roles, review_roles, tenant, created_at, expires_at, revoked_at, by.

    \b
    Example:
      turnout token list
    """
    from turnout.cli.cards import token_table
    from turnout.cli.output import print_json
    from turnout.cli.session import with_app
    from turnout.service.access.tokens import listed

    async def job(app: App) -> list[Token]:
        return await listed(app.store)

    found = with_app(store, job)
    print_json(found) if as_json else token_table(found)


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@store_option
def revoke_token(token_id: str, store: str) -> None:
    """Have a token count no more, nor the sessions that came from it.

    \b
    Example:
      turnout token revoke 5f0c2a9d1e77
    """
    from turnout.cli.session import with_app
    from turnout.service.access.tokens import revoke

    async def job(app: App) -> Token:
        return await revoke(app.store, app.clock.now(), token_id)

    found = with_app(store, job)
    click.echo(f"token {found.id} of {found.who} doesn't count any more")


def _seconds(text: str) -> timedelta:
    """A length of time that somebody typed. Raises `InputInvalid`."""
    match = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if match is None or not int(match[1]):
        raise InputInvalid(f"{text!r} is no length of time; it looks like 30m, 12h or 90d")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])
