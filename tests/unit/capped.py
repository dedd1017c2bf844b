"""What the tests of spending share: budgets of two calls, tools to call under them, an app that has both, and its books."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.unit.runs import Work, chain

from turnout import App, Budget, Context, tool
from turnout.testing import open_test_app

CALLS = Budget(name="calls", per="all", calls=2)
ASKED = Budget(name="calls", per="all", calls=2, at_cap="review", roles=("finance",))


@tool(effect="read")
async def look(n: int) -> int:
    return n * 10


@tool(effect="pure")
async def double(n: int) -> int:
    return 2 * n


sent: list[int] = []


@tool(effect="write")
async def send(n: int) -> str:
    sent.append(n)
    return f"sent {n}"


async def three(state: Work, ctx: Context) -> dict[str, Any]:
    return {"log": [str(await ctx.call(look, n=n)) for n in range(3)]}


def app_with(
    *nodes: Any,
    budgets: Iterable[Budget] = (),
    tools: Any = (look, send, double),
    models: Any = None,
    **more: Any,
) -> App:
    return open_test_app(graphs=[chain(*nodes, tools=tools, **more)], budgets=budgets, models=models)


async def stands(app: App, account: str = "calls/all", measure: str = "calls") -> tuple[int, int]:
    """Spent and reserved."""
    [found] = [
        x for b in await app.budgets() for x in b.accounts if (x.account, x.measure) == (account, measure)
    ]
    return found.spent, found.reserved


async def ledger(app: App, thread: str = "t") -> list[tuple[str, str, int]]:
    return [(row.label.name, row.state, row.spent.calls) for row in await app.store.charges(thread)]
