"""What a node's source does that replay can't see: found by reading it, before anything runs.

Only what resolves to a name of the table in `unrecorded` is reported, so a parameter, a local variable or a
user's own function that merely looks alike never is. It is a reading aid and not a proof: what a library does
inside, or what an object does that came from somewhere else, is not seen.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType

from turnout.core.functions import MISSING, Definition, Opened, Source, layers, opened, source_of
from turnout.core.scope import Scope
from turnout.core.unrecorded import MUTATORS, OUTSIDE, STATE, Reason, file_reason, mode_of

Assignment = ast.Assign | ast.AnnAssign | ast.NamedExpr
Loop = ast.For | ast.AsyncFor | ast.comprehension
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
DISPLAYS = (ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Dict, ast.DictComp)


@dataclass(frozen=True, slots=True)
class SourceWarning:
    """One place in a node's source that replay can't see."""

    file: str
    line: int
    found: str
    why: str
    use: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: found {self.found}: {self.why}; use {self.use}"


@dataclass(frozen=True, slots=True)
class Task:
    """A function to read; which parameters are (part of) the state, what others hold, which one is `self`."""

    fn: FunctionType
    state: frozenset[str]
    known: dict[str, object]
    receiver: str = ""


def source_warnings(fn: Callable[..., object]) -> list[SourceWarning]:
    """Everything suspicious in `fn`, and in the functions of the same module that it calls, where it stands.

    A comment `# turnout: ok` on the first or last line of the expression silences it.
    """
    apart = opened(fn)
    tasks = [_first_task(layer, apart) for layer in layers(apart.fn)]
    seen: set[tuple[FunctionType, frozenset[str]]] = set()
    found: dict[SourceWarning, None] = {}
    while tasks:
        task = tasks.pop(0)
        source = source_of(task.fn)
        if source is not None and (task.fn, task.state) not in seen:
            seen.add((task.fn, task.state))
            reading = _Reading(task, source)
            found |= dict.fromkeys(sorted(reading.found, key=lambda warning: warning.line))
            tasks += reading.called
    return list(found)


def _first_task(fn: FunctionType, apart: Opened) -> Task:
    """The node itself: its state is the first parameter that isn't bound yet."""
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    known = {**dict(zip(names, apart.bound, strict=False)), **apart.keywords}
    free = [name for name in names if name not in known]
    receiver = names[0] if names and apart.receiver is not MISSING else ""
    return Task(fn, frozenset(free[:1]), known, receiver)


class _Reading:
    """Reads one function from top to bottom: `found` is what is wrong in it, `called` what to read next."""

    def __init__(self, task: Task, source: Source) -> None:
        self.found: list[SourceWarning] = []
        self.called: list[Task] = []
        self._file = source.file
        self._silenced = _silenced_lines(source.text)
        self._recorded = _recorded(source.definition)
        self._scope = Scope(task.fn, source, task.state, task.known, task.receiver)
        self._body(source.definition)

    def _report(self, node: ast.expr | ast.stmt, found: str, reason: Reason) -> None:
        if not {node.lineno, node.end_lineno} & self._silenced:
            self.found.append(SourceWarning(self._file, node.lineno, found, reason.why, reason.use))

    def _read(self, node: ast.AST) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._definition(node)
            case ast.ClassDef():
                self._scope.bind(node.name)
                with self._scope.inner():
                    self._parts(node)
            case ast.Import() | ast.ImportFrom():
                self._scope.bind_imports(node)
            case ast.Global() | ast.Nonlocal():
                self._scope.declare_outside(node)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                self._scope.bind(node.name)
                self._parts(node)
            case ast.MatchMapping():
                self._scope.bind(node.rest)
                self._parts(node)
            case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
                self._assignment(node)
            case ast.AugAssign():
                self._augmented(node)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                self._loop(node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                self._place(node)
            case ast.Call():
                self._call(node)
            case _:
                self._parts(node)

    def _parts(self, node: ast.AST) -> None:
        for part in ast.iter_child_nodes(node):
            self._read(part)

    # --- what binds names ---------------------------------------------------------------------------------

    def _body(self, definition: Definition) -> None:
        for part in definition.body if isinstance(definition.body, list) else [definition.body]:
            self._read(part)

    def _definition(self, node: Definition) -> None:
        for part in [*getattr(node, "decorator_list", []), *node.args.defaults, *node.args.kw_defaults]:
            if part is not None:
                self._read(part)
        if not isinstance(node, ast.Lambda):
            self._scope.bind(node.name)
        if node not in self._recorded:
            with self._scope.inner():
                self._scope.bind_parameters(node)
                self._body(node)

    def _assignment(self, node: Assignment) -> None:
        if node.value is None:
            return
        self._read(node.value)
        names, owner = self._scope.names(node.value), self._scope.owner(node.value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._read(target)
            if isinstance(target, ast.Name):
                self._scope.bind(target.id, names, owner)

    def _augmented(self, node: ast.AugAssign) -> None:
        self._read(node.value)
        target = node.target
        if not isinstance(target, ast.Name):
            self._parts(target)
            owner = self._scope.owner(target.value)
        elif self._scope.is_outside(target.id):
            owner = OUTSIDE
        else:  # `total += 1` makes a new number; `items += [..]` changes the list that it stands for
            owner = self._scope.owner(target) if isinstance(node.value, DISPLAYS) else None
            self._scope.bind(target.id, [], owner)
        if owner is not None:
            self._report(node, ast.unparse(ast.AugAssign(target, node.op, ast.Constant(...))), owner)

    def _loop(self, node: Loop) -> None:
        self._read(node.iter)
        owner = self._scope.owner(node.iter)
        self._read(node.target)
        if isinstance(node.target, ast.Name):
            self._scope.bind(node.target.id, [], owner)
        for part in node.ifs if isinstance(node, ast.comprehension) else [*node.body, *node.orelse]:
            self._read(part)

    def _comprehension(self, node: Comprehension) -> None:
        with self._scope.inner():  # the loops first: what they bind is used in what stands before them
            for loop in node.generators:
                self._read(loop)
            for part in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
                self._read(part)

    # --- what is looked for -------------------------------------------------------------------------------

    def _place(self, node: ast.Name | ast.Attribute | ast.Subscript) -> None:
        """A name, an attribute or an item, being read, set or deleted."""
        text = ast.unparse(node)
        if isinstance(node.ctx, ast.Load):
            if "os.environ" in self._scope.names(node):
                self._report(node, text, file_reason("r"))
                return
        elif isinstance(node, ast.Name):
            if self._scope.is_outside(node.id):
                self._report(node, _changed(node, text), OUTSIDE)
            self._scope.bind(node.id)
        else:
            owner = self._scope.owner(node.value)
            if owner is not None:
                self._report(node, _changed(node, text), owner)
        self._parts(node)

    def _call(self, node: ast.Call) -> None:
        function, arguments = node.func, [*node.args, *(keyword.value for keyword in node.keywords)]
        name = ast.unparse(function)
        found = f"{name}(...)" if arguments else f"{name}()"
        reason = self._scope.reason(function, len(arguments))
        mode = mode_of(node, self._scope.names(function))
        if mode is not None:
            found, reason = f"{name}(..., {mode!r})" if mode else found, file_reason(mode)
        elif reason is None and isinstance(function, ast.Attribute) and function.attr in MUTATORS:
            reason = self._scope.owner(function.value)
        elif reason is None and name in ("setattr", "delattr") and node.args:
            reason = self._scope.owner(node.args[0])
        if reason is not None:
            self._report(node, found, reason)
        self._follow(node)
        self._parts(node)

    def _follow(self, call: ast.Call) -> None:
        """Note a called function of the same module for reading, and which parameters are given the state."""
        function = call.func
        bound: list[object] = []
        if isinstance(function, ast.Attribute):
            receiver = self._scope.value(function.value)
            bound = [] if receiver is MISSING or isinstance(receiver, type | ModuleType) else [receiver]
        wrapped = isinstance(function, ast.Name) and function.id in self._scope.closure
        for fn in layers(self._scope.value(function)):
            if fn.__globals__ is self._scope.globals or wrapped:
                code = fn.__code__
                names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
                given = dict(zip(names[len(bound) :], call.args, strict=False))
                given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                state = frozenset(name for name, value in given.items() if self._scope.owner(value) is STATE)
                known = dict(zip(names, bound, strict=False))
                self.called.append(Task(fn, state, known, names[0] if known else ""))


def _changed(node: ast.Name | ast.Attribute | ast.Subscript, text: str) -> str:
    return f"del {text}" if isinstance(node.ctx, ast.Del) else f"{text} = ..."


def _recorded(definition: Definition) -> set[ast.AST]:
    """The inner functions given to `ctx.once(name, fn)`: what they do is recorded, so it may be anything."""
    given: list[ast.expr] = []
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "once":
            given += [*node.args, *(keyword.value for keyword in node.keywords)]
    names = {argument.id for argument in given if isinstance(argument, ast.Name)}
    return {
        node
        for node in ast.walk(definition)
        if isinstance(node, Definition) and (node in given or getattr(node, "name", None) in names)
    }


@functools.lru_cache(maxsize=32)
def _silenced_lines(text: str) -> frozenset[int]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    return frozenset(c.start[0] for c in comments if re.search(r"turnout:\s*ok\b", c.string))
