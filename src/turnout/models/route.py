"""Which deployment is asked next, after how long, and when to give up: decided from what is on record, without I/O.

an attempt failed     -> another deployment of the alias that is free now, or the same again when its wait is over,
                         as long as the alias has retries left
nothing is free       -> wait for the first one, if that is not too long
retries used up, the
wait too long         -> the aliases that the alias names for that cause
prompt too long,
content refused       -> the same at once: asking again would come to the same
the request is wrong  -> give up at once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turnout.core.attempts import Attempt
from turnout.core.entries import Micros
from turnout.models.schema import Alias

CAUSES = {
    "ModelRateLimited": "rate_limit",
    "ModelUnavailable": "error",
    "ModelNotFound": "error",
    "AnswerBroken": "error",
    "ModelTimeout": "error",
    "CredentialsRefused": "error",
    "ContextWindowExceeded": "context_window",
    "ContentFiltered": "content_filter",
    "Cancelled": "error",  # it was cut off, and the call is made all the same: the step was told to stop and went on
    "": "error",  # it was answered, and yet the call is not on record as answered
}
"""What kinds of failure are, for the choice of a fallback. Of any other kind the call is given up."""
HOPELESS = {"ModelNotFound", "CredentialsRefused"}
"""The deployment isn't asked again in this call."""
ALIKE = {"context_window", "content_filter"}
"""The other deployments of the alias would say the same."""


@dataclass(frozen=True)
class Send:
    """Ask this deployment now. `why`: first, again, next or fallback."""

    alias: str
    deployment: str
    why: str


@dataclass(frozen=True)
class Hold:
    """Nothing can be asked before `until`; then decide again."""

    until: Micros


@dataclass(frozen=True)
class Stop:
    """Give up. `until` is when it would have been possible, if that is known."""

    until: Micros | None = None


@dataclass(frozen=True)
class Blocked:
    """A deployment is left alone until then, whoever asks. `cause`: rate_limit, or error when it cools down."""

    until: Micros
    cause: str


Move = Send | Hold | Stop


def next_move(
    aliases: Mapping[str, Alias],
    first: str,
    past: Sequence[Attempt],
    blocked: Mapping[str, Blocked],
    now: Micros,
    until: Micros,
    dice: float,
) -> Move:
    """What to do now. `past`: the attempts of this call; `until`: its deadline; `dice`: a number from 0 up to 1."""
    if not past:
        here, visited = first, [first]
        own = _choose(first, aliases[first], (), blocked, now, dice, "first")
        cause = "error" if _cools(aliases[first], blocked, own) else "rate_limit"
    else:
        last = past[-1]
        gone = last.alias not in aliases  # turnout.toml has changed since: there is nothing left to ask of it
        here = first if gone else last.alias
        visited = [name for name in dict.fromkeys([first, *(a.alias for a in past)]) if name in aliases]
        if last.error not in CAUSES:
            return Stop()
        cause = CAUSES[last.error]
        mine = [a for a in past if a.alias == here]
        own = None
        if not gone and cause not in ALIKE and len(mine) <= aliases[here].retries:
            own = _choose(here, aliases[here], mine, blocked, now, dice, "next")
    if isinstance(own, Send):
        return own if now < until else Stop()
    others = [
        _choose(name, aliases[name], (), blocked, now, dice, "fallback")
        for name in _fallbacks(aliases, visited, cause)
    ]
    ordered = [own, *others]
    if _cools(
        aliases[here], blocked, own
    ):  # a short wait goes before a fallback, but what cools down is left alone
        ordered = [*(move for move in others if isinstance(move, Send)), *ordered]
    for move in ordered:
        if isinstance(move, Send) and now < until:
            return move
        if (
            isinstance(move, Hold)
            and move.until < until
            and move.until - now <= _micros(aliases[here].longest_wait)
        ):
            return move
    return Stop(min((move.until for move in ordered if isinstance(move, Hold)), default=None))


def not_before(
    alias: Alias, attempt: Attempt, past: Sequence[Attempt], retry_after: float | None, dice: float
) -> Micros | None:
    """When this call may ask the attempt's deployment again, seen from the attempt's end. None: never."""
    if attempt.error in HOPELESS or attempt.error not in CAUSES or CAUSES[attempt.error] in ALIKE:
        return None
    ended = attempt.at + attempt.ms * 1_000
    if retry_after is not None:
        return ended + _micros(retry_after) + 1_000  # `ms` was cut to whole milliseconds
    failed = sum(a.deployment == attempt.deployment and a.alias == attempt.alias for a in past)
    wait = min(alias.first_wait * 2**failed, alias.longest_wait)
    return ended + _micros(wait * (0.5 + dice / 2))


def _choose(
    name: str,
    alias: Alias,
    mine: Sequence[Attempt],
    blocked: Mapping[str, Blocked],
    now: Micros,
    dice: float,
    why: str,
) -> Send | Hold | None:
    """A deployment of the alias that can be asked now, or when the first one can. None: none ever in this call."""
    free: dict[str, Micros] = {}
    for share in alias.deployments:
        own = [a for a in mine if a.deployment == share.name]
        if any(a.error in HOPELESS for a in own):
            continue
        at = own[-1].again_at or 0 if own else 0
        block = blocked.get(share.name)
        free[share.name] = max(at, block.until if block is not None else 0)
    if not free:
        return None
    ready = [share for share in alias.deployments if share.name in free and free[share.name] <= now]
    if not ready:
        return Hold(min(free.values()))
    chosen = ready[0]
    if alias.weighted:
        total = sum(share.weight or 0 for share in ready)
        mark = dice * total
        for share in ready:
            chosen = share
            mark -= share.weight or 0
            if mark < 0:
                break
    again = why == "next" and any(a.deployment == chosen.name for a in mine)
    return Send(name, chosen.name, "again" if again else why)


def _fallbacks(aliases: Mapping[str, Alias], visited: Sequence[str], cause: str) -> list[str]:
    """The aliases that are left for a cause: first those that the last alias names, then those of the ones before."""
    named = [name for alias in reversed(visited) for name in aliases[alias].fallbacks.of(cause)]
    return [name for name in dict.fromkeys(named) if name not in visited]


def _cools(alias: Alias, blocked: Mapping[str, Blocked], move: Send | Hold | None) -> bool:
    """Is it a deployment that cools down that the alias would have to wait for?"""
    found = (blocked.get(share.name) for share in alias.deployments)
    return isinstance(move, Hold) and any(
        block is not None and block.cause == "error" and block.until == move.until for block in found
    )


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
