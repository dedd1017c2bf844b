"""An app for tests: in memory unless told otherwise, strict, and as predictable as wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from turnout.core.budgets import Budget
from turnout.core.graph import Graph
from turnout.ports.clock import Chance, Clock
from turnout.ports.guard import Guard
from turnout.ports.model import Model, Retriever
from turnout.ports.policy import Policy
from turnout.ports.store import Store
from turnout.service.app import App
from turnout.settings import Settings
from turnout.wiring import open_app


def open_test_app(
    store: str | Store = "sqlite://",
    *,
    graphs: Iterable[Graph] = (),
    models: Mapping[str, Model] | None = None,
    retrievers: Mapping[str, Retriever] | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    work: bool = True,
    config: str | Path | None = "",
    policy: str | Path | Policy | None = None,
    guards: Iterable[Guard] = (),
    budgets: Iterable[Budget] = (),
) -> App:
    """`open_app` in memory and in strict mode: a node that changes the state it was handed fails its run.

    A turnout.toml is read only when `config` names it: what lies in the working folder is no test's business.
    """
    strict = replace(settings or Settings(), strict=True)
    return open_app(
        store,
        graphs=graphs,
        models=models,
        retrievers=retrievers,
        settings=strict,
        clock=clock,
        chance=chance,
        work=work,
        config=config,
        policy=policy,
        guards=guards,
        budgets=budgets,
    )
