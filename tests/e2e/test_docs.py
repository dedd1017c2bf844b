"""Every program in the docs runs as written, and prints what the docs say it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```)?", re.M | re.S)
PAGES = sorted(
    p
    for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if p.exists() and "```python" in p.read_text()
)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_the_programs_of_a_page_run_as_written(page: Path, tmp_path: Path) -> None:
    blocks = list(BLOCK.finditer(page.read_text()))
    assert blocks
    program = tmp_path / "program.py"
    program.write_text("\n".join(block["code"] for block in blocks))
    done = subprocess.run(
        [sys.executable, program.name], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [block["output"] for block in blocks if block["output"] is not None]
    if expected:
        assert done.stdout == "".join(expected)
