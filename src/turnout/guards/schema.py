"""What turnout.toml may say of guardrails."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from turnout.ports.guard import KINDS, Action, Where
from turnout.settings_file import Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Kind = Literal["model", "tool", "retrieve", "once"]
_NEEDS = {"pattern": "patterns", "length": "longest", "schema": "schema"}
_OF = {
    "patterns": ("pattern",), "ignore_case": ("pattern",), "longest": ("length",), "schema_": ("schema",),
    "function": ("function",), "whole": ("function",), "only": ("secrets", "personal", "presidio", "instructions"),
    "language": ("presidio",), "model": ("presidio",), "score": ("presidio",), "time_limit": ("function",),
}  # fmt: skip


class Guardrail(Section):
    """One `[[guardrails]]` table: a check, where it looks, and what comes of a finding.

    `names` are the models, tools or sources that it looks at, `graphs` and `nodes` those of the runs; empty: all. They
    may have wildcards. `roles` may decide on its reviews. `secret`: what it finds is cut out of what people are shown.
    """

    hints: ClassVar[dict[str, str]] = {
        "pattern": "patterns is a list: patterns = ['...']", "on": "say where = ['output']", "type": "say check = '...'",
    }  # fmt: skip
    name: Name
    check: Literal[
        "secrets", "personal", "presidio", "pattern", "length", "instructions", "schema", "function"
    ]
    action: Action
    where: tuple[Where, ...] = ("input", "output")
    kinds: tuple[Kind, ...] = KINDS  # type: ignore[assignment]
    names: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    secret: bool | None = None
    only: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    ignore_case: bool = False
    longest: Annotated[int, Field(gt=0)] | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    function: str = Field(default="", pattern=r"^[\w.]+:\w+$|^$")
    whole: bool = False
    time_limit: Annotated[float, Field(gt=0, le=600)] = 5.0
    language: str = "en"
    model: str = ""
    score: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _fits_together(self) -> Guardrail:
        given = {"patterns": self.patterns, "longest": self.longest, "schema": self.schema_}
        needed = _NEEDS.get(self.check)
        if needed and not given[needed]:
            raise ValueError(f"check = {self.check!r} needs {needed}")
        for key in self.model_fields_set & _OF.keys():
            if self.check not in _OF[key]:
                raise ValueError(f"{key.rstrip('_')} is for check = {' or '.join(map(repr, _OF[key]))}")
        if self.roles and self.action != "review":
            raise ValueError("roles is for action = 'review': they say who may decide")
        if not self.where or not self.kinds:
            raise ValueError("where and kinds must name something")
        return self

    def form(self) -> dict[str, Any]:
        """The JSON schema as plain JSON data: the reader of the file gives Decimals."""
        found: dict[str, Any] = _plain(self.schema_)
        return found


class GuardSettings(Section):
    """The `guardrails` of turnout.toml."""

    guardrails: tuple[Guardrail, ...] = ()

    @model_validator(mode="after")
    def _have_names_of_their_own(self) -> GuardSettings:
        names = [one.name for one in self.guardrails]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise ValueError(f"two guardrails are named {twice!r}")
        for one in self.guardrails:
            if one.check == "function" and not one.function:
                raise ValueError(
                    f"guardrail {one.name!r}: check = 'function' needs function = 'module:function'"
                )
        return self


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
