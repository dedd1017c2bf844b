"""What all providers share: keys from the environment, SDKs that are imported when needed, errors without secrets."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from turnout.core.frozen import FrozenDict, frozen
from turnout.core.messages import ModelReply, ModelRequest
from turnout.errors import (
    AnswerBroken,
    CredentialsRefused,
    ModelFailed,
    ModelRequestRefused,
    ModelTimeout,
    ModelUnavailable,
    SettingsInvalid,
    TurnoutError,
)
from turnout.models.refusals import Said, clean, failure
from turnout.models.schema import Deployment
from turnout.ports.model import Emit

CONNECT = 10.0
"""Seconds for a connection to be made."""
NO_KEY = "none"
"""What is sent as the key to upstreams that want none: the SDKs insist on one."""


class Connection:
    """One deployment through its provider's SDK. The client is made on first use, on the event loop that uses it."""

    extra = ""
    """The SDK's package, and the extra of ours that brings it."""
    reserved: frozenset[str] = frozenset()
    """Options that would change what the request is, not how it is answered."""

    def __init__(self, name: str, terms: Deployment, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.terms = terms
        given = os.environ if environment is None else environment
        self._key = _variable(given, terms.key_env, name) if terms.key_env else NO_KEY
        secret_headers = {
            header: _variable(given, variable, name) for header, variable in terms.headers_env.items()
        }
        self._headers = {**terms.headers, **secret_headers}
        self._secrets = tuple(secret for secret in (self._key, *secret_headers.values()) if secret != NO_KEY)
        self._client: Any = None
        self._first = asyncio.Lock()

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Ask once. Raises `ModelFailed`, `SettingsInvalid`."""
        self._refuse_reserved(request)
        await self.open()
        try:
            return await self._complete(request, emit)
        except (TurnoutError, asyncio.CancelledError):
            raise
        except Exception as problem:
            found = self._failure(problem)
        raise found  # out here, so that the SDK's error, which holds the request with the key, isn't its context

    async def open(self) -> None:
        """Import the SDK and make the client, if that wasn't done yet. Raises `SettingsInvalid`."""
        async with self._first:
            if self._client is None:  # importing an SDK takes a second or more: not on the event loop
                self._client = await asyncio.to_thread(self._begin)

    async def close(self) -> None:
        """Close the client's connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _begin(self) -> Any:
        """Import the SDK and make a client; both SDKs import most of themselves when a resource is first touched."""
        client = self._connect(sdk(self.extra))
        self._touch(client)
        return client

    def _connect(self, package: Any) -> Any:
        raise NotImplementedError

    def _touch(self, client: Any) -> Any:
        """The resource that is used."""
        raise NotImplementedError

    async def _complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        raise NotImplementedError

    def _timeouts(self) -> Any:
        """Whole attempts are timed by the gateway; here is how long a connection may be silent."""
        httpx = importlib.import_module("httpx2")
        silence = min(self.terms.stall, self.terms.timeout) if self.terms.stream else self.terms.timeout
        return httpx.Timeout(silence, connect=min(CONNECT, self.terms.timeout))

    def _refuse_reserved(self, request: ModelRequest) -> None:
        wrong = sorted(self.reserved & request.options.keys())
        if wrong:
            raise ModelRequestRefused(f"the option {wrong[0]!r} can't be set from outside; take it away")

    def _failure(self, problem: Exception) -> ModelFailed:
        """An SDK's error as ours."""
        httpx = importlib.import_module("httpx2")
        package = sdk(self.extra)
        now = datetime.now(UTC)
        if isinstance(problem, package.APITimeoutError | httpx.TimeoutException):
            return ModelTimeout(f"the upstream was silent for longer than {self._timeouts().read:g} s")
        if isinstance(problem, package.APIStatusError):
            # An error that comes in the middle of a stream carries the status of the stream's beginning.
            status = problem.status_code if problem.status_code >= 300 else 0
            return failure(
                _said(problem, status, problem.response.headers, problem.request_id or ""), self._secrets, now
            )
        if isinstance(problem, package.APIConnectionError):
            broken = isinstance(problem.__cause__, httpx.RemoteProtocolError | httpx.ReadError)
            kind = AnswerBroken if broken else ModelUnavailable
            return kind(f"the connection failed: {clean(_cause(problem), self._secrets)}")
        if isinstance(problem, httpx.HTTPError):
            return AnswerBroken(f"the connection broke: {clean(_cause(problem), self._secrets)}")
        if isinstance(problem, package.APIError):
            return failure(_said(problem, 0, {}, ""), self._secrets, now)
        if isinstance(problem, json.JSONDecodeError):
            return AnswerBroken(f"a piece of the answer is not JSON ({problem.msg})")
        return AnswerBroken(
            f"the answer is not what the protocol says: {type(problem).__name__}: {clean(problem, self._secrets)}"
        )


def sdk(extra: str) -> Any:
    """A provider's SDK. Raises `SettingsInvalid` when it isn't installed."""
    try:
        return importlib.import_module(extra)
    except ImportError:
        raise SettingsInvalid(
            f"the provider {extra!r} needs a package that isn't installed: pip install 'turnout[{extra}]'"
        ) from None


def arguments(text: str, tool: str) -> FrozenDict:
    """The arguments of a tool call, which models write as JSON. Raises `AnswerBroken`."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AnswerBroken(f"the arguments of the call of {tool!r} are not a JSON object")
    return FrozenDict({name: frozen(value) for name, value in found.items()})


def _variable(environment: Mapping[str, str], variable: str, name: str) -> str:
    value = environment.get(variable, "").strip()
    if not value:
        raise CredentialsRefused(
            f"deployment {name!r} has no key: the environment variable {variable} is not set"
        )
    return value


def _said(problem: Any, status: int, headers: Mapping[str, str], request_id: str) -> Said:
    body: dict[str, Any] = problem.body if isinstance(problem.body, dict) else {}
    error = body.get("error")
    inner: dict[str, Any] = error if isinstance(error, dict) else body
    words = tuple(str(inner[word]) for word in ("type", "code") if isinstance(inner.get(word), str | int))
    message = inner.get("message")
    text = message if isinstance(message, str) and message else str(problem.message)
    return Said(status, text, words, headers, request_id)


def _cause(problem: BaseException) -> str:
    cause = problem.__cause__ or problem
    return f"{type(cause).__name__}: {cause}"
