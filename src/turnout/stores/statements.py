"""SQL lies in `.sql` files, each statement under a line `-- name: it`."""

from __future__ import annotations

from importlib.resources import files


def statements(file: str) -> dict[str, str]:
    """The named statements of `stores/<file>`."""
    found: dict[str, str] = {}
    for part in text(file).split("-- name: ")[1:]:
        name, _, sql = part.partition("\n")
        found[name.strip()] = sql.strip()
    return found


def text(file: str) -> str:
    """The whole of `stores/<file>`."""
    return files("turnout.stores").joinpath(file).read_text(encoding="utf-8")
