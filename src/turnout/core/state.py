"""State: the one source of truth of a thread, its reducers, and the checked merge.

A state lives in two forms. The *document* is plain JSON data, a dict of field name to value; it is what the
journal speaks of. The *model* is the user's Pydantic class, made from the document when a node or a route needs
to look at it. A node's update becomes a *delta*: what the update does to the document, written so that it can be
applied later without any of the user's code. The fold of a journal therefore never runs a reducer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from turnout.core import canon
from turnout.core.annotations import hides_its_value, item_adapter, rebuilt, sharing, type_text
from turnout.core.reducers import (
    OPERATION,
    Delta,
    Doc,
    Reducer,
    add,
    append,
    apply_delta,
    as_reducer,
    merge,
    reducer_problem,
    replace,
)
from turnout.core.taint import Untrusted
from turnout.errors import GraphInvalid, InputInvalid, MergeConflict, StateInvalid, UpdateInvalid


@dataclass(frozen=True)
class _Field:
    name: str
    info: FieldInfo
    adapter: TypeAdapter[Any]
    reducer: Reducer
    constrained: bool
    sharing: str  # "value" | "items" | "none": what of its typed form may be shared between nodes
    item: TypeAdapter[Any] | None
    opaque: bool  # its typed form may share containers with the JSON that it is made from
    bare: Any  # the annotation, if nothing constrains it

    def exactly(self, value: Any) -> bool:
        """Is `value` of the declared type to the letter: an int for int, a list of str for list[str]?"""
        kind = type(value)
        if kind is int or kind is str or kind is bool:
            return self.bare is kind
        if kind is list:
            return (self.bare == list[str] and all(type(item) is str for item in value)) or (
                self.bare == list[int] and all(type(item) is int for item in value)
            )
        return False

    def check(self, value: Any) -> Any:
        """The typed form of `value`, which is an update or plain JSON data."""
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            try:  # JSON has no tuples, dates or bytes: what a strict model refuses as a list may be fine as JSON
                return self.adapter.validate_json(canon.encode(canon.plain(value)))
            except Exception:
                raise error from None

    def dump(self, typed: Any, what: str = "") -> Any:
        """The JSON form of a typed value. Raises `InputInvalid` when it has none."""
        what = what or f"field {self.name!r}"
        try:
            data = self.adapter.dump_python(typed, mode="json")
        except (PydanticSerializationError, ValueError) as problem:
            raise InputInvalid(f"{what} can't be stored as JSON: {problem}") from None
        return canon.settle(typed, data, what)

    def given(self, raw: Any) -> Any:
        """An update, in its JSON form, as a user's reducer gets it: as the field's type, or as that of one item of
        the list, if it is one of them; else plain. The same on the day it is written and when branches are joined."""
        for adapter in (self.adapter, self.item):
            with contextlib.suppress(ValidationError):
                return adapter.validate_json(canon.encode(raw)) if adapter is not None else raw
        return raw


class Hydration:
    """Typed values made earlier for one branch of one thread, so that a long list isn't read again every step."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Any, Any]] = {}


class StateSchema:
    """What a graph knows of its state class: field types, reducers, and how to check writes.

    Raises `GraphInvalid` when the class can't be a state.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model
        self.fields: dict[str, _Field] = {}
        problems = []
        for name, info in model.model_fields.items():
            reducers = [found for found in map(as_reducer, info.metadata) if found]
            if len(reducers) > 1:
                problems.append(f"state field {name!r} has {len(reducers)} reducers; keep one")
            reducer = reducers[0] if reducers else replace
            others = [m for m in info.metadata if as_reducer(m) is None and not isinstance(m, Untrusted)]
            # Reducers are taken out: Pydantic must not see a plain function among the metadata.
            annotation: Any = Annotated[(info.annotation, *others)] if others else info.annotation
            if hides_its_value(info.annotation):
                problems.append(
                    f"state field {name!r} is a secret, which would be stored as asterisks; keep secrets out of the state "
                    f"and let the tool that needs one read it"
                )
            problem = reducer_problem(name, info.annotation, reducer)
            if problem:
                problems.append(problem)
            self.fields[name] = _Field(
                name, info, TypeAdapter(annotation), reducer, bool(others), sharing(info.annotation),
                item_adapter(info.annotation), not rebuilt(info.annotation), None if others else info.annotation,
            )  # fmt: skip
        if problems:
            raise GraphInvalid(model.__name__, problems)
        decorators = model.__pydantic_decorators__
        self._usual = (
            not model.__private_attributes__
            and model.model_config.get("extra") != "allow"
            and model.model_post_init is BaseModel.model_post_init
        )
        # Such validators look at the whole: a merge has to ask the class itself, not only the field.
        self._whole = bool(
            decorators.field_validators or decorators.validators or decorators.model_validators
        )
        self.untrusted = frozenset(
            name
            for name, info in model.model_fields.items()
            if any(isinstance(m, Untrusted) for m in info.metadata)
        )
        # What the class makes of an input may put the value of one field into another.
        self.mixes = self._whole or any(
            info.default_factory_takes_validated_data for info in model.model_fields.values()
        )

    @property
    def name(self) -> str:
        return self.model.__name__

    def code(self) -> str:
        """A canonical text of the schema, for the graph's fingerprint."""
        reducers = {name: f.reducer.name for name, f in self.fields.items()}
        return canon.encode([canon.plain(self.model.model_json_schema()), reducers]).decode()

    def first(self, given: Mapping[str, Any]) -> Doc:
        """The document of a new thread, from its first input. Raises `InputInvalid`."""
        self._known_fields(given, InputInvalid, "the input")
        return self._validated(dict(given), InputInvalid, "the input")

    def carried(self, doc: Doc) -> Doc:
        """`doc`, which an earlier version of the class may have made, as this class has it.

        Fields that are no longer there are left out, new fields get their defaults. Raises `StateInvalid`.
        """
        return self._validated(
            {k: v for k, v in doc.items() if k in self.fields}, StateInvalid, "the carried state"
        )

    def delta(
        self,
        doc: Doc,
        update: Mapping[str, Any] | None,
        where: str,
        error: type[UpdateInvalid] | type[InputInvalid] = UpdateInvalid,
        alone: bool = True,
    ) -> Delta:
        """What `update` does to `doc`. Raises `error`, naming `where` and the field, when it doesn't fit.

        `alone` says that no parallel branch can write at the same time, so that the delta need not be joined later.
        """
        if update is None:
            return {}
        if type(update) is not dict and not isinstance(update, Mapping):
            raise error(
                f"{where} gave {type(update).__name__} instead of a dict of fields to change; "
                f"return e.g. {{{next(iter(self.fields), 'field')!r}: ...}} or None"
            )
        self._known_fields(update, error, where)
        delta: Delta = {}
        for name, value in update.items():
            self._change(delta, self.fields[name], doc.get(name), value, where, error, alone)
        if self._whole and delta:
            try:
                self._load(apply_delta(doc, delta))
            except Exception as problem:  # a user's validator may raise anything
                raise error(
                    f"{where}: the state after this update is invalid: {first_problem(problem)}"
                ) from None
        return delta

    def join(self, doc: Doc, branches: list[tuple[str, list[Delta]]]) -> Delta:
        """What parallel branches did, put together in branch order. `branches` pairs a branch's name with its deltas.

        Raises `MergeConflict` when two branches wrote one `replace` field.
        """
        writer: dict[str, str] = {}
        joined: Delta = {}
        for branch, deltas in branches:
            for delta in deltas:
                for name in delta.get("set", {}):
                    if writer.setdefault(name, branch) != branch:
                        raise MergeConflict(
                            f"{writer[name]} and {branch} ran in parallel and both wrote {name!r}, which is replaced, not "
                            f"merged; give the field a reducer (append, add, merge) or write it in one of them"
                        )
                for operation, fields in delta.items():
                    for name, value in fields.items():
                        self._join_one(doc, joined, operation, name, value, branch)
        return joined

    def hydrate(self, doc: Doc, memory: Hydration) -> BaseModel:
        """The model for a node to read. Nothing that the node does to it can reach another node.

        Values that nobody can change are shared between calls through `memory`; all else is made anew.
        """
        values: dict[str, Any] = {}
        for name, spec in self.fields.items():
            if name not in doc:
                continue
            stored = doc[name]
            known = memory.known.get(name) if spec.sharing != "none" else None
            if known is not None and known[0] is stored:
                typed = known[1]
            elif known is not None and spec.item is not None and _grew(known[0], stored):
                item = spec.item.validate_python
                typed = [*known[1], *[self._typed(spec, value, item) for value in stored[len(known[0]) :]]]
            else:
                typed = self._typed(spec, stored, spec.check)
            if spec.sharing != "none":
                memory.known[name] = (stored, typed)
            values[name] = list(typed) if spec.sharing == "items" and typed is not None else typed
        return self._made(values)

    def _made(self, values: dict[str, Any]) -> BaseModel:
        """A model of values that are known to be valid. What `model_construct` does, for the usual kind of class."""
        if not self._usual or len(values) != len(self.fields):
            return self.model.model_construct(**values)
        model = self.model.__new__(self.model)
        object.__setattr__(model, "__dict__", values)
        object.__setattr__(model, "__pydantic_fields_set__", set(values))
        object.__setattr__(model, "__pydantic_extra__", None)
        object.__setattr__(model, "__pydantic_private__", None)
        return model

    def _typed(self, spec: _Field, stored: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(canon.copy(stored) if spec.opaque else stored)
        except Exception as problem:
            raise StateInvalid(
                f"the stored value of field {spec.name!r} doesn't fit {type_text(spec.info)}: {first_problem(problem)}"
            ) from None

    def load(self, doc: Doc) -> BaseModel:
        """The validated model of `doc`. Raises `StateInvalid`."""
        try:
            return self._load(doc)
        except Exception as problem:
            raise StateInvalid(f"the state doesn't fit {self.name}: {first_problem(problem)}") from None

    def dump(self, model: BaseModel) -> Doc:
        """The document of a model instance, in the order of the fields."""
        return {
            name: spec.dump(getattr(model, name))
            for name, spec in self.fields.items()
            if hasattr(model, name)
        }

    def _load(self, doc: Doc) -> BaseModel:
        try:
            return self.model.model_validate(doc, by_name=True, by_alias=True)
        except ValidationError:
            return self.model.model_validate_json(canon.encode(doc), by_name=True, by_alias=True)

    def _validated(self, given: Doc, error: type[InputInvalid] | type[StateInvalid], what: str) -> Doc:
        plain = canon.plain(given, what)
        try:
            doc = self.dump(self._load(plain))
        except InputInvalid as problem:
            raise error(f"{what}: {problem}") from None
        except Exception as problem:  # a user's validator may raise anything
            raise error(f"{what} doesn't fit {self.name}: {first_problem(problem)}") from None
        settled: Doc = canon.plain(doc, what)
        return settled

    def _known_fields(self, given: Any, error: type[Exception], what: str) -> None:
        if not isinstance(given, Mapping):
            raise error(f"{what} is {type(given).__name__}, not an object of {self.name} fields")
        for name in given:
            if name not in self.fields:
                near = get_close_matches(str(name), self.fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"{self.name} has {', '.join(self.fields)}"
                raise error(f"{what} has the field {name!r}, which {self.name} doesn't have; {hint}")

    def _change(
        self,
        delta: Delta,
        spec: _Field,
        old: Any,
        value: Any,
        where: str,
        error: type[Exception],
        alone: bool,
    ) -> None:
        what = f"{where}: field {spec.name!r}"
        builtin = OPERATION.get(spec.reducer.name) if spec.reducer in (replace, append, add, merge) else None
        try:
            if builtin:
                # What is of the declared type to the letter needs no way through Pydantic and back.
                typed = value if spec.exactly(value) else spec.dump(spec.check(value), what)
                change = canon.plain(typed, what)
                if change is None and builtin != "set":
                    return  # nothing to append, add or merge
                delta.setdefault(builtin, {})[spec.name] = change
                if builtin == "add" or (builtin != "set" and spec.constrained):
                    total = apply_delta({spec.name: old}, {builtin: {spec.name: change}})[spec.name]
                    canon.settle(spec.check(total), total, what)
            else:
                raw = canon.plain(value, what)
                before = None if old is None else spec.check(canon.copy(old))
                combined = spec.reducer.combine(before, spec.given(raw))
                to = canon.plain(spec.dump(spec.check(combined), what), what)
                if alone and isinstance(old, list) and _grew(old, to):
                    # A reducer that only appends is stored as what it appended, or the journal would grow with its square.
                    delta.setdefault("extend", {})[spec.name] = to[len(old) :]
                else:
                    delta.setdefault("reduce", {})[spec.name] = {"by": raw, "to": to}
        except ValidationError as problem:
            raise error(
                f"{where} wrote field {spec.name!r} with a value that doesn't fit {type_text(spec.info)}: {first_problem(problem)}"
            ) from None
        except InputInvalid:
            raise
        except Exception as problem:  # a user's reducer, validator or serializer may raise anything
            raise error(
                f"{where} wrote field {spec.name!r}, which can't be done (reducer {spec.reducer.name!r}): "
                f"{first_problem(problem)}"
            ) from None

    def _join_one(self, doc: Doc, joined: Delta, operation: str, name: str, value: Any, branch: str) -> None:
        slot = joined.setdefault(operation, {})
        if name not in slot or operation == "set":
            slot[name] = value
        elif operation == "extend":
            slot[name] = [*slot[name], *value]
        elif operation == "add":
            slot[name] = slot[name] + value
        elif operation == "merge":
            slot[name] = {**slot[name], **value}
        else:
            again: Delta = {}
            self._change(
                again, self.fields[name], slot[name]["to"], value["by"], branch, UpdateInvalid, alone=False
            )
            slot[name] = again["reduce"][name]


def _grew(old: Any, new: Any) -> bool:
    """Is list `new` list `old` with something behind it? Equal items are found by identity, which is quick."""
    return isinstance(old, list) and isinstance(new, list) and len(new) >= len(old) and new[: len(old)] == old


def first_problem(problem: Exception) -> str:
    """The first two problems of a ValidationError in one line, without the values (they may be secret).

    Of an error of another kind, which a user's code raised: its class and its words.
    """
    if not isinstance(problem, ValidationError):
        return f"{type(problem).__name__}: {problem}"
    lines = []
    for item in problem.errors(include_url=False, include_input=False, include_context=False)[:2]:
        path = ".".join(str(part) for part in item["loc"])
        lines.append(f"{path}: {item['msg']}" if path else item["msg"])
    more = problem.error_count() - len(lines)
    return "; ".join(lines) + (f" (and {more} more)" if more > 0 else "")
