"""What the tests of guardrails share: a secret and a card, a tool that is told what to say, a graph that calls it."""

from pathlib import Path
from typing import Any

from tests.unit.runs import Work, chain

from turnout import App, Context, Graph, tool
from turnout.core import entries as e
from turnout.errors import EffectRefused, ToolFailed

KEY = "AKIAIOSFODNN7EXAMPLE"
CARD = "4111111111111111"


def stored(folder: Path) -> bytes:
    """Every byte of a store's files."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("t.db*")))


async def findings(app: App, thread: str = "t") -> list[tuple[str, str, str, dict[str, int]]]:
    found = [entry.body for entry in await app.entries(thread)]
    return [(x.guard, x.where, x.action, x.labels) for x in found if isinstance(x, e.FindingNoted)]


def saying(*sent: Any) -> tuple[list[Any], Any]:
    """What a tool was called with, and the tool: it gives `sent`, one after the other."""
    asked: list[Any] = []
    answers = list(sent)

    @tool(effect="read")
    async def look(text: str) -> Any:
        asked.append(text)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asked, look


def calling(look: Any, text: str = "hello") -> Graph:
    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        try:
            return {"data": await ctx.call(look, text=text)}
        except (EffectRefused, ToolFailed) as error:
            return {"data": f"{type(error).__name__}: {error}"}

    return chain(step, tools=[look])
