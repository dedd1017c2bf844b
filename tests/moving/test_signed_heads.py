"""Signed heads move along: what the old store signed can be checked in the new one, whatever key that has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.moving.desk import furnish
from tests.moving.homes import FAST, Home

OTHER = replace(FAST, signing_key="77" * 32)


async def moved(old: Home, new: Home, file: str, settings: Any) -> tuple[dict[str, Any], Any]:
    """A head of the old store, and what the import did."""
    await furnish(old)
    async with old.app() as app:
        head = await app.head()
        await app.export_to(file, move=True)
    async with new.app(settings=settings) as app:
        return head, await app.import_from(file)


async def heads(home: Home, settings: Any) -> list[Any]:
    async with home.app(settings=settings) as app:
        return [(h.thread, h.seq, h.digest, h.at, h.signature) for h in await app.store.heads()]


async def test_with_the_same_key_nothing_is_signed_anew(old: Home, new: Home, file: str) -> None:
    head, found = await moved(old, new, file, FAST)
    assert found.signed == 0
    assert await heads(new, FAST) == await heads(old, FAST)
    async with new.app() as app:
        assert (await app.verify(against=head)).ok


async def test_another_key_signs_the_heads_anew_once_the_old_signature_was_checked(
    old: Home, new: Home, file: str
) -> None:
    _, found = await moved(old, new, file, OTHER)
    before, after = await heads(old, FAST), await heads(new, OTHER)
    assert found.signed == len(before) > 5
    assert [one[:4] for one in after] == [one[:4] for one in before]
    assert all(one[4] != two[4] for one, two in zip(before, after, strict=True))
    async with new.app(settings=OTHER) as app:
        assert (await app.verify()).ok


async def test_a_head_of_the_old_store_is_good_for_the_new_one_when_its_key_is_named(
    old: Home, new: Home, file: str
) -> None:
    head, _ = await moved(old, new, file, OTHER)
    async with new.app(settings=OTHER) as app:
        [problem] = (await app.verify(against=head)).problems
        assert "another key" in problem
        assert "--signed-by" in problem
        found = await app.verify(against=head, signed_by=head["public_key"])
        assert found.ok, found.problems
        [problem] = (await app.verify(against=head, signed_by="ab" * 32)).problems
        assert "another key" in problem
        cut = {**head, "threads": {**head["threads"], "gone": [999, "ab" * 32]}}
        [altered, off] = (await app.verify(against=cut, signed_by=head["public_key"])).problems
        assert "signature doesn't fit" in altered
        assert "thread gone" in off or "cut off" in off


@pytest.mark.parametrize("key", ["", "55" * 32])
async def test_what_the_old_key_has_not_signed_is_not_signed_by_the_new_one(
    old: Home, new: Home, file: str, key: str
) -> None:
    """A head whose signature doesn't fit stays one whose signature doesn't fit."""
    await furnish(old)
    async with old.app() as app:
        before = await app.store.heads()
    settings = replace(FAST, signing_key=key or "66" * 32)
    async with old.app(settings=settings) as app:
        await app.export_to(file, move=True)
    async with new.app(settings=OTHER) as app:
        found = await app.import_from(file)
        assert found.signed == 0
        assert await app.store.heads() == before
        assert all("was not signed with this store's key" in p for p in (await app.verify()).problems)
