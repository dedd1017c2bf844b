"""What the tests of compensation share: a world of bookings that can be undone, and a graph that makes them."""

from typing import Any

from tests.unit.runs import Work

from turnout import END, Context, Graph, Tool, tool


class Travel:
    """A world in which things are booked and cancelled, and which can fail at either."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.fail: list[Exception | None] = []
        self.said: list[Any] = []
        self.lost = ""

    def write(self, name: str, **options: Any) -> Tool[Any, Any]:
        async def undo(place: str, result: Any, write_key: str, idempotency_key: str) -> str:
            self.keys.append(idempotency_key)
            problem = self.fail.pop(0) if self.fail else None
            if problem is not None:
                raise problem
            self.log.append(f"undo {name} {place} {result}")
            return "undone"

        async def book(place: str) -> str:
            self.log.append(f"{name} {place}")
            if self.lost == name:
                raise ConnectionError("the line is dead")
            return f"{name}-{place}"

        async def look(place: str) -> Any:
            return self.said.pop(0)

        undo.__name__, book.__name__ = f"cancel_{name}", f"book_{name}"
        if options.pop("reconcile", False):
            options["reconcile"] = look
        return tool(effect="write", compensate=undo, **options)(book)


def trip(world: Travel, *names: str, tools: dict[str, Tool[Any, Any]] | None = None, **options: Any) -> Graph:
    """Books one after the other, and then fails."""
    made = {name: (tools or {}).get(name) or world.write(name) for name in names}
    graph = Graph("g", state=Work, tools=list(made.values()), **{"together": True, **options})

    def booking(name: str) -> Any:
        async def book(state: Work, ctx: Context) -> dict[str, Any]:
            return {"log": [await ctx.call(made[name], place="Graz")]}

        return book

    for name in names:
        graph.node(booking(name), name=name)

    @graph.node
    async def end(state: Work, ctx: Context) -> dict[str, Any]:
        if state.data == "wait":
            await ctx.signal("go")
        if state.data != "fine":
            raise RuntimeError("no seats left")
        return {"n": 1}

    graph.start(names[0])
    for here, there in zip(names, [*names[1:], end], strict=True):
        graph.edge(here, there)
    graph.edge(end, END)
    return graph


def outcomes(found: Any) -> list[tuple[str, str]]:
    return [(write.name, write.outcome) for write in found.writes]
