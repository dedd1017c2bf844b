"""`--log json`: each line is an object, and says where the code that logs is."""

from __future__ import annotations

import json

from tests.e2e.cli_desk import Folder

CODE = """
import logging
from pydantic import BaseModel
from turnout import END, Context, Graph

log = logging.getLogger("desk")


class Work(BaseModel):
    n: int = 0


talks = Graph("talks", state=Work)


@talks.node
async def says(state: Work, ctx: Context) -> dict:
    log.warning("in an async node: %s", state.n, extra={"order": "A-17"})
    return {}


@talks.node
def says_too(state: Work, ctx: Context) -> dict:
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("in a sync node\\nof two lines")
    return {}


talks.start(says)
talks.edge(says, says_too)
talks.edge(says_too, END)
"""


def test_lines_of_nodes_say_thread_run_and_step(folder: Folder) -> None:
    (folder.path / "talk.py").write_text(CODE)
    for thread in ("a", "b"):
        folder.shell(f"""python -c "
import asyncio
from talk import talks
from turnout import open_app
async def main():
    async with open_app(graphs=[talks], work=False) as app:
        await app.start('talks', {{}}, thread='{thread}')
asyncio.run(main())" """)
    said = folder.shell("turnout worker talk:talks --until-idle --log json")
    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in said.stderr.splitlines()]
    mine = sorted(
        (line for line in lines if line["logger"] == "desk"), key=lambda line: (line["thread"], line["step"])
    )
    assert [(line["thread"], line["run"], line["step"]) for line in mine] == [
        ("a", 1, "says.1"), ("a", 1, "says_too.1"), ("b", 1, "says.1"), ("b", 1, "says_too.1"),
    ]  # fmt: skip
    first, second = mine[:2]
    assert (first["level"], first["message"], first["order"]) == ("warning", "in an async node: 0", "A-17")
    assert first["time"].endswith("Z")
    assert second["message"] == "in a sync node\nof two lines"
    assert "ZeroDivisionError" in second["error"]


def test_lines_outside_of_a_thread_name_none(folder: Folder) -> None:
    said = folder.shell(
        "python -c \"from turnout.cli.logs import set_up; set_up('json'); import logging; "
        "logging.getLogger('x').error('hello', extra={'level': 'mine', 'what': {1, 2}})\""
    )
    [line] = [json.loads(text) for text in said.stderr.splitlines()]
    assert line.keys() == {"time", "level", "logger", "message", "what"}
    assert line["level"] == "error"
