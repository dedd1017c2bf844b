"""What is measured: every measurement with its contenders and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RAW, LANGGRAPH, TURNOUT = "raw", "langgraph", "turnout"
TASKS = "langgraph @task"
SCRIPTS = {
    RAW: "raw_sqlite.py",
    LANGGRAPH: "langgraph_sqlite.py",
    TASKS: "langgraph_sqlite.py",
    TURNOUT: "turnout_sqlite.py",
}
GROUPS = ("step", "threads", "agent", "killed", "resume", "replay", "paused")


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

    def asked(self, contender: str) -> dict[str, Any]:
        return {**self.options, **self.own.get(contender, {})}


def plan(quick: bool) -> list[Measurement]:
    """Everything; with `quick` smaller and less of it, to see that it runs: its figures say little."""
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
    ]
