"""What the names in a function stand for, at the point that has been read so far.

A name is resolved twice: as the imports spell it (`os.urandom`), and through the object that the function
would find at run time (a module-level `client` is an `httpx.Client`). None of the user's code runs for that:
no property, no `__getattr__`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from turnout.core.functions import MISSING, Definition, Source, closure, top_level
from turnout.core.unrecorded import OUTSIDE, PURE, STATE, Reason, reason_for

# What the standard library says of where a thing is implemented, and where it is documented.
PUBLIC = (
    ("pathlib._local.", "pathlib."),
    ("pathlib.PosixPath", "pathlib.Path"),
    ("pathlib.WindowsPath", "pathlib.Path"),
    ("os._Environ", "os.environ"),
    ("posixpath", "os.path"),
    ("ntpath", "os.path"),
    ("genericpath", "os.path"),
    ("posix.", "os."),
    ("nt.", "os."),
    ("_io.", "io."),
    ("_sqlite3.", "sqlite3."),
    ("_socket.", "socket."),
    ("asyncio.tasks.", "asyncio."),
    ("_asyncio.", "asyncio."),
)
PATH = "pathlib.Path"
PATH_STEPS = ("cwd", "home", "joinpath", "with_name", "with_stem", "with_suffix", "resolve", "absolute")
GIVE_PATHS = {PATH, f"{PATH}.expanduser", f"{PATH}.relative_to", *(f"{PATH}.{step}" for step in PATH_STEPS)}


class Scope:
    """The names of one function. A local is bound before it is used, so reading from top to bottom is enough
    to tell it from a global. Only an inner function may use what is bound further down; those names the
    compiler lists as cells."""

    def __init__(
        self,
        fn: FunctionType,
        source: Source,
        state: frozenset[str],
        known: Mapping[str, object],
        receiver: str,
    ) -> None:
        self.globals = fn.__globals__
        self.closure = closure(fn)
        self._free = fn.__code__.co_freevars
        self._imports = dict(_imports(source.module))
        # A local name, and the dotted names that it is known to stand for: often none.
        self._local: dict[str, tuple[str, ...]] = dict.fromkeys(fn.__code__.co_cellvars, ())
        self._known: dict[str, object] = {}
        # A name whose value isn't the function's own to change, and why.
        self._shared: dict[str, Reason] = {}
        # Names declared `global`, or `nonlocal` of something around the node.
        self._outside: set[str] = set()
        self.bind_parameters(source.definition)
        self._known |= known
        self._shared |= dict.fromkeys(state, STATE)
        if receiver:
            self._shared[receiver] = OUTSIDE

    # --- asking -------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> object:
        """The object that an expression gives, or MISSING when that isn't known without running it."""
        if isinstance(node, ast.Name):
            if node.id in self._known or node.id in self._local:
                return self._known.get(node.id, MISSING)
            return self.closure.get(node.id, self.globals.get(node.id, MISSING))
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            return MISSING if base is MISSING else inspect.getattr_static(base, node.attr, MISSING)
        return MISSING

    def names(self, node: ast.expr) -> list[str]:
        """The dotted names that an expression may be known by."""
        names: list[str] = []
        value = self.value(node)
        if isinstance(node, ast.Name):
            names += self._names_of(node.id, value)
        elif isinstance(node, ast.Attribute):
            for base in self.names(node.value):
                names.append(PATH if (base, node.attr) == (PATH, "parent") else f"{base}.{node.attr}")
        elif isinstance(node, ast.Call):
            names += [PATH for name in self.names(node.func) if name in GIVE_PATHS]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            names += [name for name in self.names(node.left) if name == PATH]
        return names if value is MISSING or self._is_own(value) else [*names, _described(value)]

    def _names_of(self, name: str, value: object) -> tuple[str, ...]:
        if name in self._local:
            return self._local[name]
        if name in self._imports:
            # A function or class of this module that has the name of an import came after the import.
            return () if self._is_own(value) else (self._imports[name],)
        return (f"builtins.{name}",) if value is MISSING and hasattr(builtins, name) else ()

    def _is_own(self, value: object) -> bool:
        if isinstance(value, FunctionType):
            return value.__globals__ is self.globals
        return isinstance(value, type) and value.__module__ == self.globals.get("__name__")

    def reason(self, node: ast.expr, arguments: int) -> Reason | None:
        """Why calling `node` with so many arguments is a problem: the first name in the table counts."""
        for name in self.names(node):
            reason = reason_for(name, arguments)
            if reason is not None:
                return None if reason is PURE else reason
        return None

    def owner(self, node: ast.expr) -> Reason | None:
        """Why the value of an expression isn't the function's own to change; None when it may be."""
        while isinstance(node, ast.Attribute | ast.Subscript | ast.NamedExpr):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
                return None  # a slice is a copy
            node = node.value
        if isinstance(node, ast.BoolOp | ast.IfExp):  # `state.items or []`
            either = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            return next((owner for part in either if (owner := self.owner(part)) is not None), None)
        if not isinstance(node, ast.Name):
            return None
        if node.id in self._shared:
            return self._shared[node.id]
        return OUTSIDE if isinstance(self.value(node), list | dict | set | deque) else None

    def is_outside(self, name: str) -> bool:
        """Whether binding `name` changes something outside of the node."""
        return name in self._outside

    # --- telling ------------------------------------------------------------------------------------------

    def bind(self, name: str | None, names: list[str] | None = None, owner: Reason | None = None) -> None:
        """From here on `name` is a local that stands for `names`, and whose value is `owner`'s."""
        if name is None or name in self._outside:
            return
        self._known.pop(name, None)
        self._shared.pop(name, None)
        self._local[name] = tuple(names or ())
        if owner is not None:
            self._shared[name] = owner

    def bind_parameters(self, definition: Definition) -> None:
        """Parameters are locals; one that is annotated with a class stands for an object of it."""
        arguments = definition.args
        for parameter in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            self.bind(parameter.arg, self.names(parameter.annotation) if parameter.annotation else [])
        for rest in (arguments.vararg, arguments.kwarg):
            self.bind(rest.arg if rest else None)

    def bind_imports(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, dotted in _imported(node):
            self.bind(name, [dotted])

    def declare_outside(self, node: ast.Global | ast.Nonlocal) -> None:
        # A nonlocal variable of the node itself lives and dies with the step.
        self._outside |= {n for n in node.names if isinstance(node, ast.Global) or n in self._free}

    @contextmanager
    def inner(self) -> Iterator[None]:
        """A scope inside this one: what is bound in it is forgotten afterwards."""
        before = self._local, self._known, self._shared, self._outside
        self._local, self._known = dict(self._local), dict(self._known)
        self._shared, self._outside = dict(self._shared), set(self._outside)
        yield
        self._local, self._known, self._shared, self._outside = before


def _described(value: object) -> str:
    """The dotted name of an object; of an instance, that of its class."""
    if isinstance(value, ModuleType):
        return _public(value.__name__)
    if isinstance(value, BuiltinFunctionType | MethodType):
        owner = value.__self__
        if owner is not None and not isinstance(owner, ModuleType):
            return f"{_described(owner)}.{value.__name__}"
    named = value if isinstance(value, type | FunctionType | BuiltinFunctionType) else type(value)
    return _public(f"{named.__module__}.{named.__qualname__}")


def _public(name: str) -> str:
    for private, public in PUBLIC:
        if name.startswith(private):
            return _public(public + name.removeprefix(private))
    return name


def _imports(module: ast.Module) -> Iterator[tuple[str, str]]:
    for statement in top_level(module.body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from _imported(statement)


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """The names that an import binds, and the dotted names that they stand for."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:  # `import http.client` binds `http`
            yield alias.name.partition(".")[0], alias.name.partition(".")[0]
