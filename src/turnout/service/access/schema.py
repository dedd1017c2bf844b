"""The table `[access]` of turnout.toml: signing in with an OIDC provider, and how long sessions last."""

from __future__ import annotations

from pydantic import Field

from turnout.settings_file import Section


class Oidc(Section):
    """`[access.oidc]`: whose bearer tokens are believed, and what is read from their claims.

    `roles`, `review_roles` and `tenant` name claims. A value of the `roles` claim counts as the role of that name, or as
    those that `grants` gives for it. With `tenant` a token without that claim is refused; without it, callers see all
    tenants. `jwks` is where the issuer's keys are, when its discovery document shouldn't be asked.
    """

    issuer: str
    audience: str
    jwks: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    who: str = "sub"
    roles: str = "roles"
    review_roles: str = ""
    tenant: str = ""
    grants: dict[str, tuple[str, ...]] = {}
    leeway: float = Field(60.0, ge=0, le=600)


class Access(Section):
    """`[access]`: `session` is how long a session of the console lasts, in seconds."""

    session: float = Field(43_200.0, gt=0)
    oidc: Oidc | None = None


class AccessSettings(Section):
    """What a turnout.toml says about who may come in."""

    access: Access = Access()
