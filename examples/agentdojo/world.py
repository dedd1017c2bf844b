"""The world that the agent acts on: an AgentDojo environment in a small database file, so that it outlives the process.

The file holds the environment as it was and as it is, and every change that was made, under its idempotency key. A
change is one transaction over both: either the environment is changed and the key is there, or neither. So the file
knows, whatever became of the process, what was done and how often it was asked for.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from agentdojo.functions_runtime import FunctionsRuntime, TaskEnvironment
from agentdojo.task_suite.task_suite import TaskSuite
from pydantic_core import to_jsonable_python

from turnout import DID_NOT_HAPPEN, DidNotHappen, Landed

Env = TypeVar("Env", bound=TaskEnvironment)
Moment = Literal["before", "now"]
Watch = Callable[[str, int], None]

SCHEMA = """
-- The environment: as it was when the file was made ("before"), and as it is ("now").
CREATE TABLE environment (moment TEXT PRIMARY KEY CHECK (moment IN ('before', 'now')), json TEXT NOT NULL);
-- Every change that was made, once, in order. `asked` counts how often its key was presented.
CREATE TABLE applied (
    n INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    tool TEXT NOT NULL,
    args TEXT NOT NULL,
    result TEXT NOT NULL,
    asked INTEGER NOT NULL DEFAULT 1
);
"""


@dataclass(frozen=True)
class Change:
    """A change that was made to the environment."""

    idempotency_key: str
    tool: str
    args: dict[str, Any]
    result: Any
    asked: int


def _unwatched(moment: str, change: int) -> None:
    pass


class World(Generic[Env]):
    """The environment of one task, in the file at `path`.

    `watch` is called right before and right after each change is committed, with "before" or "after" and the number
    of the change, from 1: that is where the tests kill the process.
    """

    def __init__(self, suite: TaskSuite[Env], path: Path, watch: Watch = _unwatched) -> None:
        self.suite = suite
        self.path = path
        self._watch = watch
        self._runtime = FunctionsRuntime(suite.tools)

    def create(self, environment: Env) -> None:
        """Make the file, with this environment in it. A file that is there already stays as it is."""
        given = environment.model_dump_json()
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'environment'").fetchone():
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.executemany("INSERT INTO environment VALUES (?, ?)", [("before", given), ("now", given)])

    def environment(self, moment: Moment = "now") -> Env:
        """The environment as it is, or as it was before anything was done."""
        with self._transaction() as db:
            return self._load(db, moment)

    def look(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Call one of the suite's tools that changes nothing. Raises what the tool raises."""
        return self._call(self.environment(), tool, args)

    def change(self, tool: str, args: Mapping[str, Any], idempotency_key: str) -> Any:
        """Call one of the suite's tools that changes the environment, in one transaction with its key.

        A key that was applied before changes nothing and gives the first result. Raises `DidNotHappen` when the
        tool refuses.
        """
        with self._transaction() as db:
            db.execute("UPDATE applied SET asked = asked + 1 WHERE idempotency_key = ?", [idempotency_key])
            done = self._applied(db, idempotency_key)
            if done:
                return done[0].result
            environment = self._load(db, "now")
            try:
                result = to_jsonable_python(self._call(environment, tool, args))
            except Exception as error:
                raise DidNotHappen(f"{type(error).__name__}: {error}") from error
            db.execute(
                "UPDATE environment SET json = ? WHERE moment = 'now'", [environment.model_dump_json()]
            )
            row = db.execute(
                "INSERT INTO applied (idempotency_key, tool, args, result) VALUES (?, ?, ?, ?)",
                [idempotency_key, tool, json.dumps(dict(args)), json.dumps(result)],
            )
            number = row.lastrowid or 0
            self._watch("before", number)
        self._watch("after", number)
        return result

    def outcome(self, idempotency_key: str) -> Any:
        """What became of a change: `Landed(result)`, or `DID_NOT_HAPPEN`. The file always knows."""
        with self._transaction() as db:
            done = self._applied(db, idempotency_key)
        return Landed(done[0].result) if done else DID_NOT_HAPPEN

    def applied(self) -> list[Change]:
        """All changes, in the order in which they were made."""
        with self._transaction() as db:
            return self._applied(db)

    def _call(self, environment: Env, tool: str, args: Mapping[str, Any]) -> Any:
        result, _ = self._runtime.run_function(environment, tool, args, raise_on_error=True)
        return result

    def _load(self, db: sqlite3.Connection, moment: Moment) -> Env:
        [text] = db.execute("SELECT json FROM environment WHERE moment = ?", [moment]).fetchone()
        return self.suite.environment_type.model_validate_json(text)

    def _applied(self, db: sqlite3.Connection, key: str | None = None) -> list[Change]:
        query = "SELECT idempotency_key, tool, args, result, asked FROM applied"
        rows = db.execute(f"{query} WHERE ?1 IS NULL OR idempotency_key = ?1 ORDER BY n", [key])
        return [
            Change(key, tool, json.loads(args), json.loads(result), asked)
            for key, tool, args, result, asked in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own and one transaction on it: tools run on threads."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
