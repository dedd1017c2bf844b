"""Fixtures of the tests of notices: receivers that run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.notify.receivers import SECRET, Mailbox, Receiver


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with Receiver().running() as running:
        yield running


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with Mailbox() as running:
        monkeypatch.setenv("FINANCE_MAIL", running.url)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 's.db'}"
