"""The ledger's rows as columns, for both stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import msgspec

from turnout.core.amounts import Amount
from turnout.core.budgets import Account, Budget, ChargeRow, Label
from turnout.core.entries import Micros
from turnout.ports.rows import CostRow


class _Stored(Budget, frozen=True, omit_defaults=True, kw_only=True):
    """A budget, and when it was set. 0: by a Turnout that didn't note it."""

    since: Micros = 0


_budget, _stored = msgspec.json.Decoder(Budget), msgspec.json.Decoder(_Stored)
COUNTS = ("per", "day", "graph", "tenant")
"""The terms of a budget that say which calls it counts, and in which accounts."""


def budget(body: bytes) -> Budget:
    """A budget as it was stored."""
    return _budget.decode(body)


def since(body: bytes) -> Micros:
    """From when on a stored budget counts."""
    return _stored.decode(body).since


def stored(found: Budget, at: Micros, before: bytes | None) -> bytes:
    """A budget to be stored that is set at `at`. `before` is what was stored by its name: if that counts the same calls, it is
    the same budget with other caps."""
    was = _stored.decode(before) if before is not None else None
    if was is not None and all(getattr(was, term) == getattr(found, term) for term in COUNTS):
        at = was.since
    return msgspec.json.encode(_Stored(**msgspec.structs.asdict(found), since=at))


def account(row: Sequence[Any]) -> Account:
    return Account(row[0], row[1], Amount(*row[2:6]), Amount(*row[6:10]), Amount(*row[10:14]), row[14])


def account_columns(found: Account) -> tuple[Any, ...]:
    return (
        found.account, found.budget, *_four(found.spent), *_four(found.reserved), *_four(found.topped), found.at,
    )  # fmt: skip


def charge(row: Sequence[Any]) -> ChargeRow:
    """A call as it was read: thread and entry, its label, state, amounts, and its accounts as JSON."""
    run, step, node, branch, graph, tenant, root, kind, name, model, deployment = row[2:13]
    label = Label(
        row[0],
        run,
        step,
        node,
        branch,
        graph,
        tenant,
        root,
        kind,
        name,
        model,
        deployment,
        bool(row[13]),
        row[14],
    )
    return ChargeRow(
        row[0], row[1], label, row[15], Amount(*row[16:20]), Amount(*row[20:24]), tuple(msgspec.json.decode(row[24]))
    )  # fmt: skip


def charge_columns(found: ChargeRow) -> tuple[Any, ...]:
    label = astuple(found.label)[1:]
    return (
        found.thread, found.seq, *label, found.state, *_four(found.reserved), *_four(found.spent),
        msgspec.json.encode(found.accounts).decode(),
    )  # fmt: skip


def cost(row: Sequence[Any]) -> CostRow:
    numbers = [int(number or 0) for number in row[1:]]
    return CostRow(row[0], Amount(*numbers[:4]), Amount(*numbers[4:8]), Amount(*numbers[8:12]))


def _four(amount: Amount) -> tuple[int, int, int, int]:
    return amount.micros, amount.tokens, amount.calls, amount.ms
