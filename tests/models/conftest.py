"""The upstreams, one of each for a whole session of tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.models.upstreams import HERE, AIMock, LLMock, serving


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMock]:
    """`llmock`. (Its own pytest plugin has the fixture `llmock`, in this process; ours is a process apart.)"""
    with serving(LLMock, tmp_path_factory.mktemp("llmock")) as server:
        yield server


@pytest.fixture(scope="session")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AIMock]:
    if shutil.which("node") is None or not (HERE / "node_modules/@copilotkit").exists():
        pytest.skip("aimock is an npm package: this needs node and `npm ci --prefix tests/models`")
    with serving(AIMock, tmp_path_factory.mktemp("aimock")) as server:
        yield server
