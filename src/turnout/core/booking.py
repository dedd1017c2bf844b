"""How charges are booked: on which accounts, with what left over. Pure; the store loads what is needed and writes what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from turnout.core.amounts import NOTHING
from turnout.core.budgets import Account, Budget, Charge, ChargeRow, Label, accounts_of, refusal, room
from turnout.core.entries import Micros


@dataclass
class Booking:
    """Charges as they are booked: what they need is loaded before, what they changed is written after.

    `since` is when each budget was set, `rows` are the calls that are settled, by thread and entry, as they are in the
    ledger.
    """

    budgets: Sequence[Budget]
    since: Mapping[str, Micros] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    rows: dict[tuple[str, int], ChargeRow] = field(default_factory=dict)
    touched: dict[str, Account] = field(default_factory=dict)
    changed: dict[tuple[str, int], ChargeRow] = field(default_factory=dict)

    def needs(self, charges: Iterable[Charge]) -> set[str]:
        """The accounts that must be loaded for these charges. `rows` must be there already."""
        names: set[str] = set()
        for charge in charges:
            if charge.label is not None:
                names |= accounts_of(self.budgets, charge.label).keys()
            elif charge.what == "top_up":
                names.add(charge.account)
            elif (charge.thread, charge.of) in self.rows:
                names |= set(self.rows[(charge.thread, charge.of)].accounts)
        return names

    def needs_to_add(self, found: Iterable[ChargeRow]) -> set[str]:
        """The same for calls that are to be added."""
        names: set[str] = set()
        for row in found:
            there = self.rows.get((row.thread, row.seq))
            names |= set(there.accounts) if there is not None else self._counted(row.label).keys()
        return names

    def after(self, charges: Iterable[Charge]) -> Booking:
        """The booking with these charges booked, too. Raises `CapReached` for the first reservation that doesn't fit
        behind those before it. This one isn't changed."""
        made = replace(
            self, accounts=dict(self.accounts), rows=dict(self.rows), touched=dict(self.touched),
            changed=dict(self.changed),
        )  # fmt: skip
        for charge in charges:
            if charge.what == "reserve" and charge.label is not None:
                for name, budget in accounts_of(self.budgets, charge.label).items():
                    account = made._account(name, budget.name)
                    measure = room(budget, account, charge.amount)
                    if measure:
                        raise refusal(charge, budget, account, measure)
            made.book(charge)
        return made

    def book(self, charge: Charge) -> None:
        """Count one charge, whatever the caps say."""
        if charge.what == "top_up":
            account = self._account(charge.account, charge.budget)
            self._put(replace(account, topped=account.topped + charge.amount))
        elif charge.label is not None:
            self._new(charge, charge.label)
        else:
            self._settle(charge)

    def add(self, found: ChargeRow) -> None:
        """Count a call whose whole story is known; one that is there already is brought to what is found, where it was counted."""
        there = self.rows.get((found.thread, found.seq))
        if there is not None and not there.is_behind(found):
            return
        names = there.accounts if there is not None else tuple(sorted(self._counted(found.label)))
        row = replace(found, accounts=names)
        self.rows[(row.thread, row.seq)] = self.changed[(row.thread, row.seq)] = row
        held, spent = (there.held, there.spent) if there is not None else (NOTHING, NOTHING)
        for name in names:
            account = self._account(name, name.partition("/")[0])
            at = max(account.at, row.label.at)
            self._put(
                replace(
                    account,
                    reserved=account.reserved + row.held - held,
                    spent=account.spent + row.spent - spent,
                    at=at,
                )
            )

    def _counted(self, label: Label) -> dict[str, Budget]:
        """The accounts in which a call is counted that was begun some time ago: of budgets that were set by then. (Of one that
        begins now all count it: the clock that it has may be another than the budget's.)"""
        return accounts_of((b for b in self.budgets if self.since.get(b.name, 0) <= label.at), label)

    def _new(self, charge: Charge, label: Label) -> None:
        held = charge.what == "reserve"
        names = accounts_of(self.budgets, label)
        reserved, spent = (charge.amount, NOTHING) if held else (NOTHING, charge.amount)
        state = "reserved" if held else ("assumed" if charge.assumed else "settled")
        row = ChargeRow(charge.thread, charge.seq, label, state, reserved, spent, tuple(sorted(names)))
        self.rows[(charge.thread, charge.seq)] = self.changed[(charge.thread, charge.seq)] = row
        for name, budget in names.items():
            account = self._account(name, budget.name)
            self._put(
                replace(
                    account, reserved=account.reserved + reserved, spent=account.spent + spent, at=label.at
                )
            )

    def _settle(self, charge: Charge) -> None:
        row = self.rows.get((charge.thread, charge.of))
        if row is None or row.state not in (
            "reserved",
            "moved",
        ):  # it was settled before, or came from another store
            return
        state = "assumed" if charge.assumed else "settled"
        label = replace(row.label, model=charge.model or row.label.model)
        settled = replace(row, label=label, state=state, spent=charge.amount)
        self.rows[(row.thread, row.seq)] = self.changed[(row.thread, row.seq)] = settled
        for name in row.accounts:
            account = self._account(name, name.partition("/")[0])
            self._put(
                replace(account, reserved=account.reserved - row.held, spent=account.spent + charge.amount)
            )

    def _account(self, name: str, budget: str) -> Account:
        return self.accounts.get(name) or Account(name, budget)

    def _put(self, account: Account) -> None:
        self.accounts[account.account] = self.touched[account.account] = account
