"""Answers to requests that are equal to the last byte, for as long as an alias says. In memory, bounded."""

from __future__ import annotations

from collections import OrderedDict

from turnout.core import canon
from turnout.core.entries import Micros
from turnout.core.messages import ModelReply, ModelRequest
from turnout.models.schema import Alias, Cache, Deployment

Key = str


def key_of(request: ModelRequest, tenant: str, alias: Alias, deployments: list[Deployment]) -> Key:
    """The same exactly when the whole request, whose it is, and all that it may be sent to are the same."""
    asked = request.model_dump(mode="json")
    sent_to = [terms.model_dump(mode="json") for terms in deployments]
    return canon.digest([tenant, asked, alias.model_dump(mode="json"), sent_to])


class Answers:
    """What one alias has answered. Only whole answers are kept: not those that were cut off or refused."""

    def __init__(self, terms: Cache) -> None:
        self._terms = terms
        self._kept: OrderedDict[Key, tuple[Micros, ModelReply]] = OrderedDict()

    def get(self, key: Key, now: Micros) -> ModelReply | None:
        found = self._kept.get(key)
        if found is None:
            return None
        kept_at, reply = found
        if now - kept_at > self._terms.seconds * 1_000_000:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return reply.model_copy(deep=True)

    def put(self, key: Key, reply: ModelReply, now: Micros) -> None:
        if reply.finish not in ("stop", "tool_calls"):
            return
        self._kept[key] = (now, reply.model_copy(deep=True))
        self._kept.move_to_end(key)
        while len(self._kept) > self._terms.entries:
            self._kept.popitem(last=False)
