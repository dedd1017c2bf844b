"""What the tests of policy at the gate share: rules about models, a desk that pays, and runs that wait for a yes."""

from typing import Any

from tests.unit.runs import Work, chain

from turnout import App, Context, Graph, Paused, Tool, tool
from turnout.core import entries as e

MODEL = """
permit(principal, action == Action::"model", resource == Model::"small") when { context.args.characters < 20 };
@review permit(principal, action == Action::"model", resource == Model::"big");
permit(principal, action == Action::"retrieve", resource == Source::"docs") when { context.args.k < 5 };
"""


class Desk:
    """A graph whose one node pays `n`, and what it has paid."""

    def __init__(self, **options: Any) -> None:
        self.sent: list[int] = []
        self.trouble: list[Exception] = []

        @tool(effect="write", **options)
        async def pay(amount: int, idempotency_key: str = "") -> str:
            if self.trouble:
                raise self.trouble.pop(0)
            self.sent.append(amount)
            return f"receipt {amount}"

        self.pay = pay
        self.graph = self.with_tool(pay)

    def with_tool(self, pay: Tool[..., Any], **node: Any) -> Graph:
        async def work(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [await ctx.call(pay, amount=state.n)]}

        return chain(work, tools=[pay], **node)


async def paused(app: App, n: int = 500, thread: str = "t", **more: Any) -> Paused:
    outcome = await app.run("g", {"n": n}, thread=thread, **more)
    assert isinstance(outcome, Paused), outcome
    return outcome


async def bodies(app: App, kind: type[e.Body], thread: str = "t") -> list[Any]:
    return [entry.body for entry in await app.entries(thread) if isinstance(entry.body, kind)]
