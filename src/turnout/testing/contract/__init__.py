"""The store contract: what every store must do, as tests. Nothing in here knows which store it is.

    class TestSqliteFile(StoreContract):
        @pytest.fixture
        async def store(self, tmp_path):
            store = SqliteStore(str(tmp_path / "t.db"))
            yield store
            await store.close()

        async def open_again(self, store):
            return SqliteStore(store.path)

The subclass supplies the fixture `store`: an empty store, closed again afterwards (closing twice must be harmless).
A store that outlives its handle also supplies `open_again`: a second handle on the same data, as another process
would have it. Needs pytest and pytest-asyncio in auto mode.
"""

from __future__ import annotations

from turnout.testing.contract.access import Access
from turnout.testing.contract.aside import Aside
from turnout.testing.contract.budgets import Budgets
from turnout.testing.contract.forks import Forks
from turnout.testing.contract.leases import Leases
from turnout.testing.contract.limits import Limits
from turnout.testing.contract.lists import Lists
from turnout.testing.contract.moving import Moving
from turnout.testing.contract.operation import Operation
from turnout.testing.contract.outbox import Outbox
from turnout.testing.contract.overview import Overviews
from turnout.testing.contract.rows import change, everything, full
from turnout.testing.contract.schedules import ScheduleRows
from turnout.testing.contract.threads import Threads
from turnout.testing.contract.transactions import Transactions
from turnout.testing.contract.turns import Turns

__all__ = ["StoreContract", "change", "everything", "full"]


class StoreContract(
    Threads,
    Forks,
    Leases,
    Turns,
    Limits,
    Aside,
    Lists,
    Overviews,
    Moving,
    Operation,
    Outbox,
    ScheduleRows,
    Budgets,
    Transactions,
    Access,
):
    """Everything a store must do. Subclass it and supply the fixture `store`, and `open_again` if it can be."""
