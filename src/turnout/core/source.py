"""The source of node functions: a canonical text for the graph's fingerprint, and what replay can't see.

The canonical text is written by a small walk over the syntax tree that leaves out positions and empty fields.
`ast.dump` and `ast.unparse` would be shorter, but neither is stable from Python 3.11 to 3.14: `dump` shows
the fields that a version adds (`type_params`, 3.12) and stopped showing empty ones (3.13); `unparse` changed
its quotes in f-strings (3.12). With them an upgrade of Python would look like a change of every node.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType

from turnout.core import functions
from turnout.core.functions import MISSING, Source, layers
from turnout.core.warnings import SourceWarning, source_warnings

__all__ = ["SourceWarning", "fingerprint", "normalised", "source_warnings", "warnings"]

warnings = source_warnings


def fingerprint(parts: Iterable[str]) -> str:
    """16 hex characters over `parts`. Each goes in with its length, so that ["ab"] and ["a", "b"] differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:16]


def normalised(fn: Callable[..., object]) -> str:
    """A canonical text of what `fn` does: it changes when that changes, and not when only its looks do.

    Left out are comments, layout, docstrings of functions, `pass`, and decorators that only register
    (`@graph.node`). The docstring of a class stays: Pydantic puts it into the schema that a model is shown.

    Taken in, besides the code: the defaults, closure variables and globals that are plain constants; for
    other globals (a dict of prompts, a compiled pattern, an output model) the statement of the same module
    that binds them; and the helper functions of the same module that it names. What these name counts too.

    Not seen is what comes from other modules, except plain constants, and what is reached through other
    objects.

    Without source (exec, the REPL, two lambdas that can't be told apart) a function is described by its
    bytecode. That is exact within one minor version of Python; under another one such a function counts as
    changed, which asks for one proof too many and never for one too few. A callable written in C is described
    by its name.
    """
    text = _Text()
    text.callable("function", fn)
    text.functions()
    return "\n".join(text.lines)


class _Text:
    """The lines of one canonical text. Functions wait for their turn and get one, so cycles end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._labels: dict[FunctionType, str] = {}
        self._waiting: list[FunctionType] = []
        self._read: set[tuple[int, str]] = set()

    def callable(self, label: str, value: Callable[..., object]) -> None:
        apart = functions.opened(value)
        for number, argument in enumerate(apart.bound):
            if argument is not apart.receiver:
                self._value(f"argument {number}", argument)
        for name, argument in sorted(apart.keywords.items()):
            self._value(f"argument {name}", argument)
        if apart.receiver is not MISSING:
            for name, attribute in _attributes(apart.receiver, getattr(apart.fn, "__module__", "")).items():
                self._value(f"attribute {name}", attribute)
        plain = layers(apart.fn)
        for fn in plain:
            self._name(label, fn)
        if not plain:  # a class or a callable from C: its name is all there is
            named = apart.fn if hasattr(apart.fn, "__qualname__") else type(apart.fn)
            self.lines.append(f"{label} named {named.__module__}.{getattr(named, '__qualname__', '')}")

    def _name(self, label: str, fn: FunctionType) -> None:
        if fn in self._labels:
            self.lines.append(f"{label} is {self._labels[fn]}")
        else:
            self._labels[fn] = label
            self._waiting.append(fn)

    def functions(self) -> None:
        while self._waiting:
            fn = self._waiting.pop(0)
            self._function(self._labels[fn], fn)

    def _function(self, label: str, fn: FunctionType) -> None:
        code, source = fn.__code__, functions.source_of(fn)
        names = functions.globals_read(code)
        if source is None:
            self.lines.append(f"{label} {_bytecode(code)}")
        else:
            self.lines.append(f"{label} {_tree(source.definition)}")
            for decorator in _decorators(source.definition):
                names |= _named_in(decorator)
        for name, value in _defaults(fn).items():
            self._value(f"default {name}", value)
        for name, value in sorted(functions.closure(fn).items()):
            self._value(f"closure {name}", value)
        self._globals(names, fn.__globals__, source)

    def _value(self, label: str, value: object) -> None:
        constant = _constant(value)
        if constant is not None:
            self.lines.append(f"{label} = {constant}")
        for fn in layers(value):
            self._name(label, fn)

    def _globals(self, names: set[str], module: Mapping[str, object], source: Source | None) -> None:
        for name in sorted(names):
            # __name__ and __file__ differ between machines, and between ways to start.
            if not name.startswith("__") and (id(module), name) not in self._read:
                self._read.add((id(module), name))
                self._global(name, module, source)

    def _global(self, name: str, module: Mapping[str, object], source: Source | None) -> None:
        value = module.get(name, MISSING)
        constant = _constant(value)
        helpers = layers(value)
        if constant is not None:
            self.lines.append(f"global {name} = {constant}")
        elif helpers:
            for fn in helpers:
                if fn.__globals__ is module:
                    self._name(f"helper {name}", fn)
        elif source is not None and value is not MISSING:
            for statement in functions.top_level(source.module.body):
                if name in _bound_by(statement):
                    self.lines.append(f"global {name} {_tree(statement)}")
                    self._globals(_named_in(statement), module, source)


def _attributes(receiver: object, module: str) -> dict[str, object]:
    """What an object that is a node holds, and what its classes in `module` do; no property is run."""
    found: dict[str, object] = {}
    for cls in reversed(type(receiver).__mro__):
        slots = cls.__dict__.get("__slots__", ())
        if cls.__module__ == module:
            found |= cls.__dict__
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(receiver, name):
                found[name] = getattr(receiver, name)
    found |= getattr(receiver, "__dict__", {})
    return {name: value for name, value in sorted(found.items()) if not name.startswith("__")}


def _defaults(fn: FunctionType) -> dict[str, object]:
    values = fn.__defaults__ or ()
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    return {**dict(zip(names[len(names) - len(values) :], values, strict=True)), **(fn.__kwdefaults__ or {})}


def _named_in(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _bound_by(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {name for target in targets for name in _named_in(target)}
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def _constant(value: object) -> str | None:
    """The text of a plain constant, or None. By `ascii`: what `repr` escapes depends on Python's version."""
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return ascii(value)
    if type(value) in (tuple, frozenset):
        items = [_constant(item) for item in value]  # type: ignore[attr-defined]
        known = [item for item in items if item is not None]
        if len(known) == len(items):
            inside = ", ".join(known if type(value) is tuple else sorted(known))
            return f"{type(value).__name__}({inside})"
    return None


def _bytecode(code: CodeType) -> str:
    """A function without source: its instructions and everything they refer to, in a fixed order."""
    constants = [
        _bytecode(c) if isinstance(c, CodeType) else _constant(c) or ascii(c) for c in code.co_consts
    ]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    jumps = code.co_exceptiontable.hex()
    return f"bytecode({code.co_code.hex()}, {jumps}, {shape}, {names!a}, [{', '.join(constants)}])"


def _decorators(node: ast.AST) -> list[ast.expr]:
    """The decorators that may change what a function does: all but `@graph.node` and `@graph.node(...)`."""
    kept: list[ast.expr] = []
    for decorator in getattr(node, "decorator_list", []):
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(target, "attr", getattr(target, "id", "")) != "node":
            kept.append(decorator)
    return kept


def _tree(node: object) -> str:
    parts: list[str] = []
    _write(node, parts)
    return "".join(parts)


def _write(node: object, parts: list[str]) -> None:
    """Write a node and what is in it: one call per level, so that a long chain of `elif` fits the stack."""
    if isinstance(node, ast.Constant):
        parts.append(_constant(node.value) or ascii(node.value))
        return
    if not isinstance(node, ast.AST):
        parts.append(ascii(node))
        return
    parts.append(f"{type(node).__name__}(")
    for name, value in _fields(node).items():
        if isinstance(value, list):
            parts.append(f"{name}=[" if value else "")
            for item in value:
                _write(item, parts)
                parts.append(", ")
            parts.append("], " if value else "")
        elif value is not None:
            parts.append(f"{name}=")
            _write(value, parts)
            parts.append(", ")
    parts.append(")")


def _fields(node: ast.AST) -> dict[str, object]:
    """What counts of a node: no load or store marks (they follow from the place), and no idle statements."""
    fields: dict[str, object] = {name: value for name, value in ast.iter_fields(node) if name != "ctx"}
    for name, value in fields.items():
        if name == "decorator_list":
            fields[name] = _decorators(node)
        elif name in ("annotation", "returns"):
            fields[name] = _unquoted(value)
        elif isinstance(node, ast.JoinedStr):  # Python 3.12 has empty texts at the ends of a format
            fields[name] = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]
        elif isinstance(value, list):
            fields[name] = [item for item in value if isinstance(node, ast.ClassDef) or not _idle(item)]
    return fields


def _idle(item: object) -> bool:
    return isinstance(item, ast.Pass) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))


def _unquoted(annotation: object) -> object:
    """A quoted annotation as the expression it stands for, so that spaces in it don't count either."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value.strip(), mode="eval").body
        except SyntaxError:
            return annotation
    return annotation
