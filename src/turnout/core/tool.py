"""Tools: functions that a step may call, with what they do to the world declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, get_type_hints, overload

from turnout.core import canon
from turnout.core.compensation import problem
from turnout.core.taint import WRITES
from turnout.core.typed_form import TypedForm, argument
from turnout.errors import InputInvalid

P = ParamSpec("P")
R = TypeVar("R")
EffectClass = Literal["pure", "read", "write"]
KEY = "idempotency_key"
TRANSACTION = "transaction"
FILLED = (KEY, TRANSACTION)
"""Parameters that Turnout fills: no arguments of a call, and not in the schema."""


@dataclass(frozen=True)
class Landed:
    """Said by a `reconcile` function: the write happened, and this was its result."""

    result: Any = None


@dataclass(frozen=True)
class _Word:
    name: str

    def __repr__(self) -> str:
        return self.name


DID_NOT_HAPPEN = _Word("DID_NOT_HAPPEN")
"""Said by a `reconcile` function: the write did not happen and never will; it may be sent again."""
CANNOT_TELL = _Word("CANNOT_TELL")
"""Said by a `reconcile` function: not known yet; ask again later."""


class Form(Protocol):
    """How the arguments and the result of a tool are checked, and their JSON forms. Its methods raise `InputInvalid`."""

    def check(self, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as plain JSON data, with defaults filled in."""
        ...

    def typed(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function wants them, from plain JSON data."""
        ...

    def dump(self, tool: str, value: Any) -> Any:
        """What the function returned, as plain JSON data."""
        ...

    def load(self, data: Any) -> Any:
        """A result from plain JSON data, as whoever called the tool gets it."""
        ...

    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        ...

    def names(self) -> frozenset[str]:
        """The arguments' names."""
        ...

    def required(self) -> frozenset[str]:
        """Those that have no default."""
        ...

    def recorded(self) -> dict[str, Any]:
        """The JSON schema of the arguments as they are on record: checked, and with defaults filled in."""
        ...


@dataclass(frozen=True, eq=False)
class Tool(Generic[P, R]):
    """A declared tool. Call it as the plain function that it is, or from a node through `ctx.call(tool, ...)`.

    `effect`: *pure* gives the same result for the same arguments and touches nothing; *read* looks at the world;
    *write* changes it. `reconcile` is asked, with the same arguments, what became of a write whose outcome isn't
    known. `did_not_happen` lists the exceptions by which the tool proves that nothing was changed.
    `time_limit` is in seconds. `transactional`: a write into the store's own database, made in the transaction that
    records it. `compensate` undoes it. `untrusted`: its results come from outside and may hold anything.
    `tainted`: what becomes of this write when its inputs may be derived from such results (allow, review or refuse; "":
    what the graph says).

    A tool of an MCP server has the name of its `server` and the `pin` (digest) of what was approved; it is called
    through the app's servers.
    """

    fn: Callable[P, Any]
    name: str
    effect: EffectClass
    description: str
    form: Form
    takes_key: bool
    reconcile: Callable[..., Any] | None = None
    did_not_happen: tuple[type[BaseException], ...] = ()
    time_limit: float | None = None
    transactional: bool = False
    pin: str = ""
    server: str = ""
    untrusted: bool = False
    tainted: str = ""
    compensate: Tool[Any, Any] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.fn(*args, **kwargs)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as plain JSON data, with defaults filled in. Raises `InputInvalid`."""
        return self.form.check(self.name, given)

    def typed(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function wants them, from plain JSON data."""
        return self.form.typed(self.name, args)

    def dump(self, value: Any) -> Any:
        """A result as plain JSON data. Raises `InputInvalid` when it isn't of the declared type."""
        return self.form.dump(self.name, value)

    def load(self, data: Any) -> Any:
        """A result from plain JSON data, as the declared type."""
        return self.form.load(data)

    def schema(self) -> dict[str, Any]:
        """Name, description and JSON schema of the arguments, as model providers want them."""
        return {"name": self.name, "description": self.description, "parameters": self.form.parameters()}

    def code(self) -> str:
        """A canonical text for the fingerprint: what the tool declares, not how it does it."""
        said = [self.name, self.effect, self.takes_key, self.reconcile is not None, self.schema()]
        if self.server:
            said += [self.server, self.pin]
        said += [
            word
            for word, is_so in ((TRANSACTION, self.transactional), ("untrusted", self.untrusted))
            if is_so
        ]
        said += [f"tainted {self.tainted}"] if self.tainted else []
        said += ["compensate", self.compensate.code()] if self.compensate is not None else []
        return canon.encode(said).decode()


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    effect: EffectClass = ...,
    name: str | None = ...,
    description: str | None = ...,
    reconcile: Callable[..., Any] | None = ...,
    did_not_happen: tuple[type[BaseException], ...] = ...,
    time_limit: float | None = ...,
    transactional: bool = ...,
    untrusted: bool = ...,
    tainted: Literal["", "allow", "review", "refuse"] = ...,
    compensate: Tool[Any, Any] | Callable[..., Any] | None = ...,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    effect: EffectClass = "write",
    name: str | None = None,
    description: str | None = None,
    reconcile: Callable[..., Any] | None = None,
    did_not_happen: tuple[type[BaseException], ...] = (),
    time_limit: float | None = None,
    transactional: bool = False,
    untrusted: bool = False,
    tainted: Literal["", "allow", "review", "refuse"] = "",
    compensate: Tool[Any, Any] | Callable[..., Any] | None = None,
) -> Any:
    """Declare a function as a tool. Without an `effect` a tool is taken for a write, the careful reading.

    A write that has a parameter named `idempotency_key` is given a stable key; Turnout may then send the same call
    again with the same key, and the receiver is expected to do it once.

    A `transactional` write has a parameter named `transaction`: a connection to the store's own database, inside a
    transaction. What the function writes with it and the entry that says so are committed together, or neither is.

    The results of an `untrusted` tool (a mailbox, the web) may hold anything: whatever a step makes of them carries the
    label `tool:NAME`. `tainted` says what becomes of a write whose inputs carry labels: allow, review or refuse.

    `compensate` undoes a write that has landed: a tool, or a function that is taken for one (a write). It is called with
    the arguments of the write that it has parameters for, with `result` (what the write returned) and `write_key` (its
    idempotency key); a graph says when: `Graph(..., together=[...])`.
    """

    def declare(fn: Callable[..., Any]) -> Tool[Any, Any]:
        label = name or fn.__name__
        _check(label, fn, effect, reconcile, did_not_happen, transactional)
        if tainted and (tainted not in WRITES or effect != "write"):
            raise InputInvalid(
                f"tool {label}: tainted={tainted!r} is one of {', '.join(WRITES)}, for effect='write'"
            )
        if effect != "write" and compensate is not None:
            raise InputInvalid(
                f"tool {label}: compensate is for effect='write': nothing else has to be undone"
            )
        hints = _hints(label, fn)
        fields: dict[str, Any] = {}
        parameters = inspect.signature(fn).parameters
        for parameter in parameters.values():
            if parameter.name not in FILLED:
                fields |= argument(label, parameter, hints)
        made: Tool[Any, Any] = Tool(
            fn=fn,
            name=label,
            effect=effect,
            description=description or inspect.getdoc(fn) or "",
            form=TypedForm.of(label, fields, hints.get("return", Any)),
            takes_key=KEY in parameters,
            reconcile=reconcile,
            did_not_happen=did_not_happen,
            time_limit=time_limit,
            transactional=transactional,
            untrusted=untrusted,
            tainted=tainted,
            compensate=_undo(compensate),
        )
        wrong = problem(made.compensate, made) if made.compensate is not None else ""
        if wrong:
            raise InputInvalid(f"tool {label}: {wrong}")
        return made

    return declare if fn is None else declare(fn)


def _undo(given: Any) -> Tool[Any, Any] | None:
    """What undoes a write, as a tool."""
    if given is None or isinstance(given, Tool):
        return given
    found: Tool[Any, Any] = tool(effect="write")(given)
    return found


def _check(
    label: str,
    fn: Callable[..., Any],
    effect: str,
    reconcile: Callable[..., Any] | None,
    did_not_happen: tuple[type[BaseException], ...],
    transactional: bool,
) -> None:
    """Raises `InputInvalid` for a declaration that makes no sense."""
    if effect not in ("pure", "read", "write"):
        raise InputInvalid(f"tool {label}: effect={effect!r} isn't one of 'pure', 'read', 'write'")
    if effect != "write" and (reconcile or did_not_happen):
        raise InputInvalid(f"tool {label}: reconcile and did_not_happen are for effect='write'")
    if transactional and effect != "write":
        raise InputInvalid(f"tool {label}: transactional=True is for effect='write'")
    if transactional and (reconcile or did_not_happen):
        raise InputInvalid(
            f"tool {label}: reconcile and did_not_happen have nothing to say of a transactional write: it has landed "
            f"exactly when its entry is on record, and any error undoes it; leave them out"
        )
    if transactional != (TRANSACTION in inspect.signature(fn).parameters):
        raise InputInvalid(
            f"tool {label}: transactional=True and a parameter named 'transaction' go together: Turnout hands the "
            f"function the store's own transaction in it; {'add the parameter' if transactional else 'rename it, or declare the tool transactional'}"
        )


def _hints(label: str, fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise InputInvalid(
            f"tool {label}: an annotation can't be resolved ({error}); define or import the type before the tool, at the "
            f"top of its module"
        ) from None
