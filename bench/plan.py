"""What is measured: every measurement with its store, its contenders and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SQLITE, POSTGRES = "sqlite", "postgres"
STORES = (SQLITE, POSTGRES)
RAW, LANGGRAPH, DBOS, ABSURD, TURNOUT = "raw", "langgraph", "dbos", "absurd", "turnout"
TASKS, SAVERS = "langgraph @task", "langgraph savers"
CONTENDERS = (RAW, LANGGRAPH, TASKS, SAVERS, DBOS, ABSURD, TURNOUT)
SCRIPTS = {
    (SQLITE, RAW): "raw_sqlite.py",
    (SQLITE, LANGGRAPH): "langgraph_sqlite.py",
    (SQLITE, TASKS): "langgraph_sqlite.py",
    (SQLITE, TURNOUT): "turnout_sqlite.py",
    (POSTGRES, RAW): "raw_postgres.py",
    (POSTGRES, LANGGRAPH): "langgraph_postgres.py",
    (POSTGRES, SAVERS): "langgraph_postgres.py",
    (POSTGRES, DBOS): "dbos_postgres.py",
    (POSTGRES, ABSURD): "absurd_postgres.py",
    (POSTGRES, TURNOUT): "turnout_postgres.py",
}
NEEDS = {
    "raw_sqlite.py": "sqlite3",
    "langgraph_sqlite.py": "langgraph.checkpoint.sqlite",
    "turnout_sqlite.py": "turnout",
    "raw_postgres.py": "psycopg",
    "langgraph_postgres.py": "langgraph.checkpoint.postgres",
    "dbos_postgres.py": "dbos, psycopg",
    "absurd_postgres.py": "absurd_sdk, absurdctl",
    "turnout_postgres.py": "turnout.stores.postgres",
}
"""The modules that a contender's interpreter must have."""
ABOUT = (
    "turnout_sqlite.py", "langgraph_sqlite.py", "turnout_postgres.py", "langgraph_postgres.py", "dbos_postgres.py",
    "absurd_postgres.py",
)  # fmt: skip
"""The scripts that can say what they are."""
GROUPS = ("step", "threads", "agent", "killed", "resume", "replay", "policy", "paused", "workers", "wake")


@dataclass(frozen=True)
class Measurement:
    """One thing measured for all its contenders, interleaved. `before` has to run first, in a process of its own.

    `options` are handed to the contenders; `own` replaces them for one contender. `once` asks for a single round:
    its figure is a count, or too slow to repeat.
    """

    name: str
    group: str
    contenders: tuple[str, ...]
    options: dict[str, Any]
    before: str = ""
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    once: bool = False
    only_memory: bool = False
    store: str = SQLITE

    def asked(self, contender: str) -> dict[str, Any]:
        return {**self.options, **self.own.get(contender, {})}

    def script(self, contender: str) -> str:
        return SCRIPTS[self.store, contender]


def plan(quick: bool) -> list[Measurement]:
    """Everything; with `quick` smaller and less of it, to see that it runs: its figures say little."""
    return [*on_sqlite(quick), *on_postgres(quick)]


def on_sqlite(quick: bool) -> list[Measurement]:
    everyone, both = (RAW, LANGGRAPH, TURNOUT), (LANGGRAPH, TURNOUT)
    sizes = (50, 100) if quick else (100, 400, 1600)
    crowds = ((8, 5),) if quick else ((32, 50), (256, 50))
    calls, long, long_peer = 20 if quick else 200, 300 if quick else 10_000, 100 if quick else 1_000
    crowd = 200 if quick else 10_000
    return [
        *(Measurement(f"step n={n}", "step", everyone, {"measure": "step", "n": n}) for n in sizes),
        *(
            Measurement(f"threads {k}", "threads", both, {"measure": "threads", "k": k, "n": n})
            for k, n in crowds
        ),
        Measurement("agent", "agent", both, {"measure": "agent", "n": calls}),
        *(
            Measurement(
                f"killed after {k}",
                "killed",
                (LANGGRAPH, TASKS, TURNOUT),
                {"measure": "killed", "kill_after": k, "again": True},
                before="killed",
                own={TASKS: {"as_tasks": True}},
                once=True,
                only_memory=True,
            )
            for k in ((2,) if quick else range(6))
        ),
        Measurement(
            "resume",
            "resume",
            both,
            {"measure": "resume", "n": long},
            before="prepare_resume",
            own={LANGGRAPH: {"n": long_peer}},
        ),
        Measurement("replay", "replay", (TURNOUT,), {"measure": "replay", "n": long}, only_memory=True),
        Measurement(
            "policy",
            "policy",
            (TURNOUT,),
            {"measure": "policy", "n": 50 if quick else 2_000, "rules": 50},
            once=True,
            only_memory=True,
        ),
        Measurement("empty worker", "paused", (TURNOUT,), {"measure": "paused", "n": 0}, only_memory=True),
        Measurement(
            "paused threads",
            "paused",
            (TURNOUT,),
            {"measure": "paused", "n": crowd},
            before="prepare_paused",
            once=True,
            only_memory=True,
        ),
        *(
            Measurement(
                f"crowd {n}",
                "paused",
                (TURNOUT,),
                {"measure": "crowded", "n": n},
                once=True,
                only_memory=True,
            )
            for n in ((200, 400) if quick else (1_000, 100_000))
        ),
    ]


def on_postgres(quick: bool) -> list[Measurement]:
    everyone = (RAW, LANGGRAPH, DBOS, ABSURD, TURNOUT)
    sizes = (20,) if quick else (100, 400)
    crowds = ((8, 5),) if quick else ((32, 50), (256, 10))
    shared = {"processes": 2, "k": 8, "n": 5} if quick else {"processes": 4, "k": 128, "n": 25}
    samples, busy = (5, 2) if quick else (200, 16)
    return [
        *(
            Measurement(f"step n={n}", "step", everyone, {"measure": "step", "n": n}, store=POSTGRES)
            for n in sizes
        ),
        *(
            Measurement(
                f"threads {k}",
                "threads",
                everyone if quick else (RAW, LANGGRAPH, SAVERS, DBOS, ABSURD, TURNOUT),
                {"measure": "threads", "k": k, "n": n},
                own={SAVERS: {"savers": min(k, 32)}},
                store=POSTGRES,
            )
            for k, n in crowds
        ),
        Measurement(
            f"workers {shared['k']} threads in {shared['processes']}",
            "workers",
            everyone,
            {"measure": "workers", **shared},
            store=POSTGRES,
        ),
        *(
            Measurement(
                name,
                "wake",
                (DBOS, ABSURD, TURNOUT),
                {"measure": "wake", "samples": samples, "load": load},
                once=True,
                store=POSTGRES,
            )
            for name, load in ((("wake busy", busy),) if quick else (("wake idle", 0), ("wake busy", busy)))
        ),
        *(
            Measurement(
                f"crowd {n}", "paused", (TURNOUT,), {"measure": "paused", "n": n}, once=True, store=POSTGRES
            )
            for n in ((200,) if quick else (1_000, 100_000))
        ),
    ]
