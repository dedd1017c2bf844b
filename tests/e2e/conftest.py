"""Fixtures of the end-to-end tests."""

import sys
from pathlib import Path

import pytest
from tests.e2e.cli_desk import Folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A working folder with a desk's code in it, and nothing set in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("TURNOUT_STORE", "TURNOUT_GRAPHS", "TURNOUT_DEBUG", "TURNOUT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Folder(tmp_path)
