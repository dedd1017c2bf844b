"""How the deployments of this process are doing: who cools down, and how much of the minute's limits is used.

Each process keeps its own: two workers with a limit of 60 requests a minute send up to 120 together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from turnout.core.entries import Micros
from turnout.core.messages import ModelRequest, TextPart
from turnout.models.route import CAUSES, HOPELESS, Blocked
from turnout.models.schema import Deployment, answer_bound

MINUTE = 60_000_000
CHARS_A_TOKEN = 4
IMAGE_TOKENS = 1_000
ANSWER_TOKENS = 500
"""What an answer is taken to be, for the limits, when the request doesn't bound it."""


@dataclass(slots=True)
class Sent:
    """A request that counts against the minute. `tokens` is an estimate until the upstream has said."""

    at: Micros
    tokens: int


@dataclass(slots=True)
class _State:
    failures: int = 0
    cooling_until: Micros = 0
    limited_until: Micros = 0
    sent: deque[Sent] = field(default_factory=deque)


class Health:
    """What this process knows of its deployments."""

    def __init__(self, deployments: Mapping[str, Deployment]) -> None:
        self._deployments = deployments
        self._states = {name: _State() for name in deployments}

    def blocked(self, tokens: int, now: Micros) -> dict[str, Blocked]:
        """The deployments that can't be asked now with a request of so many tokens, and until when."""
        found = {}
        for name, terms in self._deployments.items():
            state = self._states[name]
            limited = max(state.limited_until, _room(state.sent, terms, tokens, now))
            if max(limited, state.cooling_until) > now:
                cooling = state.cooling_until >= limited
                found[name] = Blocked(max(limited, state.cooling_until), "error" if cooling else "rate_limit")
        return found

    def sending(self, name: str, tokens: int, now: Micros) -> Sent:
        """A request of about so many tokens is sent now."""
        sent, terms = Sent(now, tokens), self._deployments[name]
        if terms.requests_per_minute is not None or terms.tokens_per_minute is not None:
            self._states[name].sent.append(sent)
        return sent

    def ended(self, name: str, error: str, now: Micros, again_at: Micros | None) -> None:
        """An attempt came to its end. `error` is a class name, empty when it was answered."""
        state, terms = self._states[name], self._deployments[name]
        if error == "Cancelled":
            return
        if error == "ModelRateLimited":
            state.limited_until = max(state.limited_until, again_at or 0)
        elif error and CAUSES.get(error) == "error":
            state.failures += 1
            if error in HOPELESS or state.failures >= terms.cooldown_after:
                state.cooling_until = now + int(terms.cooldown * 1_000_000)
        else:
            state.failures = 0

    def on_record(self, name: str, error: str, again_at: Micros | None) -> None:
        """Take in what another process learnt before it died."""
        if name in self._states and error == "ModelRateLimited":
            state = self._states[name]
            state.limited_until = max(state.limited_until, again_at or 0)


def _room(sent: deque[Sent], terms: Deployment, tokens: int, now: Micros) -> Micros:
    """When the last minute has room for one more request of so many tokens. An empty minute has room for any."""
    while sent and sent[0].at <= now - MINUTE:
        sent.popleft()
    free = 0
    if terms.requests_per_minute is not None and len(sent) >= terms.requests_per_minute:
        free = sent[len(sent) - terms.requests_per_minute].at + MINUTE
    if terms.tokens_per_minute is not None:
        over = sum(one.tokens for one in sent) + tokens - terms.tokens_per_minute
        for one in sent:
            if over <= 0:
                break
            over -= one.tokens
            free = max(free, one.at + MINUTE)
    return free


def estimate(request: ModelRequest) -> int:
    """About how many tokens a request takes, its answer counted in: for the limits, before the upstream has said."""
    chars = images = 0
    for message in request.messages:
        parts = (TextPart(text=message.content),) if isinstance(message.content, str) else message.content
        chars += sum(len(part.text) for part in parts if isinstance(part, TextPart))
        images += sum(not isinstance(part, TextPart) for part in parts)
        chars += sum(len(call.name) + len(str(call.args)) for call in message.tool_calls)
    chars += sum(len(str(tool)) for tool in request.tools) + len(str(request.output or ""))
    bound = answer_bound(request.options)
    answer = ANSWER_TOKENS if bound is None else bound
    return chars // CHARS_A_TOKEN + 1 + images * IMAGE_TOKENS + answer
