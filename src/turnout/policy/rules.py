"""Rules as they are loaded: parsed by Cedar, with what their annotations mean to us.

Cedar knows permit and forbid. A permit with `@review` allows a call only with a person's approval; `@quorum`, `@due`,
`@holds` and `@separate` say more about that review. `@id` names a rule, `@reason` says why it is there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from turnout.core import canon
from turnout.core.verdict import HOLDS, Rule, Terms
from turnout.errors import SettingsInvalid
from turnout.policy.text import Source, Statement, check_size, given, read

ANNOTATIONS = ("id", "reason", "review", "quorum", "due", "holds", "separate")
_OF_REVIEW = ("quorum", "due", "holds", "separate")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMED = re.compile(r"[^\s,;\"]{1,100}")
MEANING = "1"
"""What the mapping of questions is called: a digest covers it, for rules mean another thing under another mapping."""


@dataclass(frozen=True)
class Loaded:
    """One rule: as we understand it, where it is, and Cedar's own form of it (JSON)."""

    rule: Rule
    at: Statement
    cedar: dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something about a place in a file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.file else self.text


@dataclass
class RuleSet:
    """The rules of a folder, and what is wrong with the others."""

    folder: str
    rules: list[Loaded] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Of what the rules say; not of their places, their order, or comments. 16 hex characters."""
        return canon.digest([MEANING, sorted(canon.encode(one.cedar).decode() for one in self.rules)])[:16]


def cedarpy() -> Any:
    """The library, which is an extra. Raises `SettingsInvalid`."""
    try:
        import cedarpy as library
    except ImportError as error:
        raise SettingsInvalid(f"policies need {error.name}; run `pip install 'turnout[policy]'`") from None
    return library


def load(source: Source) -> RuleSet:
    """The rules of a folder, or those that are handed in. Raises `SettingsInvalid` when they can't be read; what is wrong in
    them is in the result."""
    library = cedarpy()
    folder = str(source) if isinstance(source, str | Path) else ""
    found = RuleSet(folder)
    places: dict[str, str] = {}
    for statement in read(Path(source)) if isinstance(source, str | Path) else given(source):
        try:
            one = _rule(library, statement)
        except ValueError as error:
            found.problems.append(Finding(statement.file, statement.line, str(error)))
            continue
        before = places.get(one.rule.id)
        places[one.rule.id] = statement.place
        if before is not None:
            text = f"the name {one.rule.id!r} is taken by the rule at {before}; give one of them another @id"
            found.problems.append(Finding(statement.file, statement.line, text))
        else:
            found.rules.append(one)
    return found


def _rule(library: Any, at: Statement) -> Loaded:
    """Raises ValueError."""
    check_size(at.text)
    parsed = json.loads(library.policies_to_json_str(at.text))
    if parsed["templates"]:
        raise ValueError("it has a slot (?principal or ?resource), which nobody fills; name what it is about")
    [cedar] = parsed["staticPolicies"].values()
    said = {name: given or "" for name, given in cedar.get("annotations", {}).items()}
    for name in said:
        if name not in ANNOTATIONS:
            near = get_close_matches(name, ANNOTATIONS, 1)
            hint = (
                f"did you mean @{near[0]}?"
                if near
                else f"there is: {', '.join(f'@{a}' for a in ANNOTATIONS)}"
            )
            raise ValueError(f"there is no annotation @{name}; {hint}")
    permit = cedar["effect"] == "permit"
    name = said.get("id") or at.place
    if said.get("id") is not None and not _NAMED.fullmatch(name):
        raise ValueError(f"@id({name!r}) is no name: up to 100 characters without spaces, commas and quotes")
    return Loaded(Rule(name, permit, said.get("reason", ""), _terms(said, permit)), at, cedar)


def _terms(said: dict[str, str], permit: bool) -> Terms | None:
    if "review" not in said:
        wrong = [name for name in _OF_REVIEW if name in said]
        if wrong:
            raise ValueError(f'@{wrong[0]} is about a review; add @review("role")')
        return None
    if not permit:
        raise ValueError("a forbid can't ask for a review: it denies. Put @review on a permit")
    roles = [role.strip() for role in said["review"].split(",") if role.strip()]
    quorum = said.get("quorum", "1")
    if not quorum.isdecimal() or int(quorum) < 1:
        raise ValueError(f"@quorum({quorum!r}) is the number of people who must agree, 1 or more")
    if said.get("separate", "") not in ("", "true"):
        raise ValueError(
            f"@separate({said['separate']!r}) takes nothing: whoever asked for the run can't decide"
        )
    return Terms(
        roles=roles, quorum=int(quorum), reason=said.get("reason", ""),
        due=_span("due", said["due"]) if "due" in said else None,
        holds=_span("holds", said["holds"]) if "holds" in said else HOLDS, separate="separate" in said,
    )  # fmt: skip


def _span(name: str, text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"@{name}({text!r}) is a time such as 30m, 24h or 7d")
    return int(found[1]) * _UNITS[found[2]] * 1_000_000
