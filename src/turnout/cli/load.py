"""Graphs from `module:attribute` or `file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from turnout.core.graph import Graph
from turnout.errors import UsageError
from turnout.ports.guard import Guard

LIBRARY = f"{Path(__file__).parents[1]}/"
"""Where Turnout's own code is: an error that it raises is told with the line that called it."""


@dataclass
class Code:
    """The code at hand. `models` and `retrievers` are the modules' dicts of these names, `guards` their lists, if they
    have them."""

    graphs: list[Graph] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    retrievers: dict[str, Any] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)
    places: tuple[str, ...] = ()


def load(places: Sequence[str]) -> Code:
    """The graphs at `places`, or at those of TURNOUT_GRAPHS. Raises `UsageError`."""
    wanted = tuple(places) or from_environment()
    code = Code(places=wanted)
    for place in wanted:
        module, graphs = _at(place)
        for graph in graphs:
            same = next((g for g in code.graphs if g.name == graph.name and g is not graph), None)
            if same is not None:
                raise UsageError(f"{place} gives a second graph named {graph.name!r}; name one of the two")
            if graph not in code.graphs:
                code.graphs.append(graph)
        for name, into in (("models", code.models), ("retrievers", code.retrievers)):
            given = getattr(module, name, None)
            if isinstance(given, Mapping):
                into.update(given)
        listed = getattr(module, "guards", ())
        if isinstance(listed, list | tuple):
            code.guards += [one for one in listed if isinstance(one, Guard) and one not in code.guards]
    return code


def from_environment() -> tuple[str, ...]:
    """The places that TURNOUT_GRAPHS names, with spaces or commas in between."""
    return tuple(os.environ.get("TURNOUT_GRAPHS", "").replace(",", " ").split())


def load_some(places: Sequence[str]) -> Code:
    """The same, where it doesn't work without code. Raises `UsageError` when none is named."""
    code = load(places)
    if not code.graphs:
        raise UsageError("this needs the code: give --graphs MODULE:GRAPH, or set TURNOUT_GRAPHS")
    return code


def load_one(place: str, others: Sequence[str] = ()) -> tuple[Graph, Code]:
    """The graph at `place`, which has to be one, and the code with `others`. Raises `UsageError`."""
    found = load_some([place]).graphs
    if len(found) != 1:
        has = ", ".join(graph.name for graph in found)
        raise UsageError(f"{place} is a list of graphs ({has}); name the one to run")
    return found[0], load(list(dict.fromkeys([place, *others])))


def _at(place: str) -> tuple[ModuleType, list[Graph]]:
    name, colon, attribute = place.rpartition(":")
    if not colon:
        name, attribute = place, ""
    module = _file(name) if name.endswith(".py") else _module(name)
    if not attribute:
        raise UsageError(f"{place!r} doesn't say which graph; {_has(module, name)}")
    found = getattr(module, attribute, None)
    if found is None:
        near = get_close_matches(attribute, vars(module), 1)
        hint = f"did you mean {name}:{near[0]}?" if near else _has(module, name)
        raise UsageError(f"{name} has no {attribute!r}; {hint}")
    graphs = list(found) if isinstance(found, Iterable) and not isinstance(found, str) else [found]
    if not graphs or not all(isinstance(graph, Graph) for graph in graphs):
        what = f"is {type(found).__name__}, not a graph or a list of graphs"
        raise UsageError(f"{place} {what}; {_has(module, name)}")
    return module, graphs


def _has(module: ModuleType, name: str) -> str:
    graphs = [f"{name}:{key}" for key, value in vars(module).items() if isinstance(value, Graph)]
    return f"it has {', '.join(graphs)}" if graphs else "there is no graph in it"


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise _broken(name, error) from None
        near = get_close_matches(name, [path.stem for path in Path.cwd().glob("*.py")], 1)
        hint = f"did you mean {near[0]}?" if near else "or give a file: path/to/desk.py:graph"
        raise UsageError(f"there is no module {name!r} in {here} or on Python's path; {hint}") from None
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from None


def _file(name: str) -> ModuleType:
    path = Path(name)
    if not path.is_file():
        near = get_close_matches(path.name, [p.name for p in path.absolute().parent.glob("*.py")], 1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise UsageError(f"there is no file {name}{hint}")
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.absolute()):
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if known is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = known
        raise _broken(name, error) from None
    return module


def _broken(name: str, error: BaseException) -> UsageError:
    """What went wrong on import, and where in the user's code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    mine = [f for f in frames if not f.filename.startswith(LIBRARY)] or frames
    where = f" ({Path(mine[-1].filename).name}:{mine[-1].lineno})" if mine else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({Path(error.filename).name}:{error.lineno})"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UsageError(f"{name} can't be imported: {said}{where}; mend it and try again")
