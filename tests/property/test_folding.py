"""A journal adds up to the same view however it is folded: at once, from any snapshot, entry by entry."""

import asyncio
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.test_crash_schedules import FAST, Plan, World, build, plans, play

from turnout.core import canon
from turnout.core import entries as e
from turnout.core.fold import apply, fold
from turnout.core.view import ThreadView, clone
from turnout.testing import SeededChance, VirtualClock, open_test_app

_snapshot = msgspec.json.Decoder(ThreadView)


async def journal(plan: Plan) -> list[e.Entry]:
    async with open_test_app(
        graphs=[build(plan, World())], clock=VirtualClock(), chance=SeededChance(), settings=FAST
    ) as app:
        await play(app)
        return await app.entries("t")


def reread(entry: e.Entry) -> e.Entry:
    """The entry as another process reads it."""
    body = e.decode_body(entry.kind, canon.encode(entry.body))
    return e.Entry(
        entry.thread, entry.seq, entry.kind, entry.run, entry.step, entry.at, entry.epoch, entry.stored, entry.digest, body
    )  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans, st.data())
def test_any_prefix_folds_to_the_same_view_with_or_without_snapshots(plan: Plan, data: st.DataObject) -> None:
    entries = asyncio.run(journal(plan))
    whole = canon.encode(fold(ThreadView(thread="t"), entries))
    cuts = data.draw(st.lists(st.integers(0, len(entries)), max_size=4))
    view: Any = ThreadView(thread="t")
    copies: list[tuple[ThreadView, bytes]] = []
    for i, entry in enumerate(entries):
        if i in cuts:
            stored = canon.encode(view)
            again = _snapshot.decode(stored)
            assert canon.encode(again) == stored
            copied = clone(view)
            assert canon.encode(copied) == stored
            copies.append((view, stored))  # left behind: nothing that follows may reach it
            view = again if i % 2 else copied
        apply(view, reread(entry))
    assert canon.encode(view) == whole
    for kept, stored in copies:
        assert canon.encode(kept) == stored


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans)
def test_a_view_is_folded_from_what_is_stored_as_from_what_was_made(plan: Plan) -> None:
    entries = asyncio.run(journal(plan))
    made = fold(ThreadView(thread="t"), entries)
    read = fold(ThreadView(thread="t"), [reread(entry) for entry in entries])
    assert canon.encode(made) == canon.encode(read)
