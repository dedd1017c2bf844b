"""The floor: a FastAPI endpoint that inserts one row and commits, with the settings that Turnout's store has.

It knows no callers, checks a body of two fields, and does its insert in place: nothing waits for a thread.
"""

from __future__ import annotations

import sqlite3
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
db = sqlite3.connect("bare.db", isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = FULL")
db.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, graph TEXT, input TEXT)")


class Start(BaseModel):
    graph: str
    input: dict[str, str]


@app.post("/runs", status_code=202)
async def start(body: Start) -> dict[str, int | None]:
    db.execute("BEGIN IMMEDIATE")
    made = db.execute(
        "INSERT INTO runs (graph, input) VALUES (?, ?)", (body.graph, body.input["order"])
    ).lastrowid
    db.execute("COMMIT")
    return {"run": made}


if __name__ == "__main__":
    # The event loop is that of `turnout serve`, which runs in asyncio's own.
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning", loop="asyncio"
    )
