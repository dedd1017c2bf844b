"""Whatever is reserved, settled, topped up and cut off, in whatever order: no cap is exceeded, and nothing is left over."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.core.amounts import MEASURES, NOTHING, Amount
from turnout.core.booking import Booking
from turnout.core.budgets import Account, Budget, Charge, Label
from turnout.errors import CapReached

amounts = st.builds(
    Amount,
    micros=st.integers(0, 50),
    tokens=st.integers(0, 50),
    calls=st.integers(0, 3),
    ms=st.integers(0, 50),
)
caps = st.one_of(st.none(), st.integers(0, 120))
budgets = st.lists(
    st.builds(
        Budget, name=st.sampled_from("abc"), per=st.sampled_from(["run", "thread", "graph", "tenant", "all"]),
        day=st.booleans(), graph=st.sampled_from(["", "g", "h"]), micros=caps, tokens=caps, calls=caps, ms=caps,
    ),
    max_size=4, unique_by=lambda budget: budget.name,
)  # fmt: skip
labels = st.builds(
    Label, thread=st.sampled_from("tu"), run=st.just(1), step=st.just("s.1"), node=st.just("s"), branch=st.just(""),
    graph=st.sampled_from("gh"), tenant=st.sampled_from(["", "acme"]), root=st.sampled_from(["t/1", "u/1"]),
    kind=st.just("model"), name=st.just("m"), model=st.just("m"), deployment=st.just("d"), retry=st.booleans(),
    at=st.sampled_from([0, 86_400_000_000]),
)  # fmt: skip
steps = st.lists(
    st.tuples(st.sampled_from(["reserve", "reserve", "settle", "assume", "top_up"]), amounts, labels, st.integers(0, 99)),
    max_size=40,
)  # fmt: skip


def within(budget: Budget, account: Account) -> bool:
    return all(
        account.spent.of(m) + account.reserved.of(m) <= (budget.cap(m) or 0) + account.topped.of(m)
        for m in budget.measures
    )


def capped(amount: Amount, by: Amount) -> Amount:
    """No more than was reserved: as an answer is that costs no more than it may."""
    return Amount(**{m: min(amount.of(m), by.of(m)) for m in MEASURES})


@settings(deadline=None, max_examples=200)
@given(budgets, steps)
def test_no_cap_is_exceeded_and_in_the_end_nothing_is_reserved(
    declared: list[Budget], story: list[tuple[Any, ...]]
) -> None:
    booking, open_ones, by_name = Booking(declared), {}, {b.name: b for b in declared}
    spent = NOTHING
    for seq, (what, amount, label, pick) in enumerate(story, 1):
        if what == "reserve":
            try:
                booking = booking.after([Charge(label.thread, seq, "reserve", amount, label)])
            except CapReached as refused:
                account = booking.accounts.get(refused.account, Account(refused.account, refused.budget))
                budget, measure = by_name[refused.budget], refused.measure
                wanted = account.spent.of(measure) + account.reserved.of(measure) + amount.of(measure)
                assert wanted > (budget.cap(measure) or 0) + account.topped.of(measure)
            else:
                open_ones[seq] = (label.thread, amount)
        elif what == "top_up" and booking.accounts:
            name = sorted(booking.accounts)[pick % len(booking.accounts)]
            booking = booking.after(
                [Charge("t", seq, "top_up", amount, account=name, budget=name.partition("/")[0])]
            )
        elif open_ones:
            of = sorted(open_ones)[pick % len(open_ones)]
            thread, held = open_ones.pop(of)
            cost = held if what == "assume" else capped(amount, held)
            spent += cost
            booking = booking.after([Charge(thread, seq, "settle", cost, of=of, assumed=what == "assume")])
        assert all(within(by_name[one.budget], one) for one in booking.accounts.values())
    for of, (thread, held) in open_ones.items():  # their runs end
        spent += held
        charge = Charge(thread, 1_000 + of, "settle", held, of=of, assumed=True)
        booking = booking.after([charge]).after([charge])
    assert all(one.reserved == NOTHING for one in booking.accounts.values())
    assert all(within(by_name[one.budget], one) for one in booking.accounts.values())
    assert sum((row.spent for row in booking.rows.values()), NOTHING) == spent
    for budget in declared:
        counted = sum((one.spent for one in booking.accounts.values() if one.budget == budget.name), NOTHING)
        rows = (r for r in booking.rows.values() if any(n.startswith(f"{budget.name}/") for n in r.accounts))
        assert counted == sum((row.spent for row in rows), NOTHING)
