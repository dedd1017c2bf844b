"""A Postgres store as one tenant has it: all it reads is read in the role `turnout_tenant`, under row-level security."""

from __future__ import annotations

from typing import Any

from turnout.errors import StoreUnavailable
from turnout.ports.rows import ThreadRow
from turnout.stores.postgres import PostgresStore
from turnout.stores.tenants import OfTenant


class PostgresTenant(OfTenant, PostgresStore):  # type: ignore[misc]
    """The reads of a `PostgresStore`, each in a transaction that sees one tenant's rows."""

    def __init__(self, whole: PostgresStore, tenant: str) -> None:
        self.whole = whole
        self.tenant = tenant
        self.url = f"tenant {tenant!r}"
        self.notices = whole.notices

    async def _fetch(self, name: str, *values: Any, prepare: bool | None = None) -> list[Any]:
        found: list[Any] = await self.whole.fetch_within(self.tenant, name, *values, prepare=prepare)
        return found

    async def threads(self, *, tenant: str = "", **more: Any) -> list[ThreadRow]:
        """The policies filter in any case; said in the statement, too, the tenant's index is used."""
        if tenant not in ("", self.tenant):
            return []
        return await PostgresStore.threads(self, tenant=self.tenant, **more)

    async def _nothing(self) -> dict[str, bytes]:
        found: dict[str, bytes] = await self.whole._nothing()
        return found

    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable(f"a tenant's handle has no {name}; it needs the whole store")
