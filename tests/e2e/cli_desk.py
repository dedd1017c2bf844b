"""What the tests of the command line work on: a desk's code, and a folder with a store in it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from turnout.cli.main import main

DESK = """
from typing import Annotated
from pydantic import BaseModel
from turnout import END, Context, Graph, append, field, rule, tool


class Refund(BaseModel):
    order: str
    amount: int = 0
    notes: Annotated[list[str], append] = []
    receipt: str | None = None


@tool(effect="read")
async def order_total(order: str) -> int:
    return {"A-1": 300, "A-0": 0}.get(order, 9000)


@tool(effect="write")
async def send_refund(order: str, amount: int, idempotency_key: str) -> str:
    with open("ledger.txt", "a") as ledger:  # what the world sees
        ledger.write(f"{order} {amount} {idempotency_key}\\n")
    return "R-" + order


@tool(effect="write")
async def post_letter(order: str) -> str:
    raise ConnectionError("the line was cut")


refunds = Graph("refunds", state=Refund, tools=[order_total, send_refund, post_letter])


@refunds.node
async def look_up(state: Refund, ctx: Context) -> dict:
    if state.order == "bad":
        raise ValueError("no such order")
    return {"amount": await ctx.call(order_total, order=state.order)}


@refunds.node
async def ask(state: Refund, ctx: Context) -> dict:
    decision = await ctx.review("Refund this order?", payload={"order": state.order, "amount": state.amount},
                                allowed=["approve", "edit", "reject", "respond"], roles=["finance"])
    return {"amount": decision.payload["amount"] if decision.approved else 0, "notes": [decision.summary]}


@refunds.node
async def pay(state: Refund, ctx: Context) -> dict:
    if state.order == "letter":
        return {"receipt": await ctx.call(post_letter, order=state.order)}
    return {"receipt": await ctx.call(send_refund, order=state.order, amount=state.amount)}


refunds.start(look_up)
refunds.route(look_up, [
    rule("nothing to refund", field("amount") <= 0, to=END),
    rule("small refund", field("amount") <= 5_000, to=pay),
], default=ask)
refunds.route(ask, [rule("rejected", field("amount") == 0, to=END)], default=pay)
refunds.edge(pay, END)

waits = Graph("waits", state=Refund)


@waits.node
async def wait(state: Refund, ctx: Context) -> dict:
    if state.order == "later":
        await ctx.sleep(86_400)
    return {"notes": [str(await ctx.signal("goods-returned"))]}


waits.start(wait)
waits.edge(wait, END)
both = [refunds, waits]
number = 7
"""
LIMIT = ("<= 5_000", "<= 50_000")


@dataclass
class Folder:
    """A working folder with desk.py (and desk_v2.py, which pays more without asking)."""

    path: Path

    def __post_init__(self) -> None:
        (self.path / "desk.py").write_text(DESK)
        (self.path / "desk_v2.py").write_text(DESK.replace(*LIMIT))

    def run(self, *words: str, ok: bool = True, input: str | None = None) -> Result:
        """One command in this process."""
        for name in ("desk", "desk_v2"):
            sys.modules.pop(name, None)
        result = CliRunner().invoke(main, list(words), input=input)
        if ok:
            assert result.exit_code == 0, result.output
        return result

    def json(self, *words: str) -> Any:
        """What a command says with --json."""
        return json.loads(self.run(*words, "--json").stdout)

    def shell(self, line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """One command line in a real shell, with the installed program."""
        programs = str(Path(sys.executable).parent)
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(self.path), **more}
        return subprocess.run(
            ["bash", "-c", line], cwd=self.path, env=env, capture_output=True, text=True, timeout=60
        )

    def paused(self, thread: str = "case-17", order: str = "A-17") -> str:
        """A run that waits for a review; its id."""
        data = self.json("run", "desk:refunds", "--input", json.dumps({"order": order}), "--thread", thread)
        return str(data["reviews"][0]["id"])

    def rules(self, name: str, text: str) -> Path:
        """A folder of rules."""
        place = self.path / name
        place.mkdir(exist_ok=True)
        (place / "rules.cedar").write_text(text)
        return place

    def ledger(self) -> list[str]:
        """What was paid."""
        file = self.path / "ledger.txt"
        return file.read_text().splitlines() if file.exists() else []
