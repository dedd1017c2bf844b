"""The export to OpenTelemetry: an observer that puts entries into a bounded queue, and a thread that sends what they say.

The event loop does nothing but put. When the receiver is slow or gone the queue fills, and what comes on top is dropped
and counted: a run never waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from turnout.core.entries import Entry
from turnout.core.view import ThreadView
from turnout.errors import SettingsInvalid
from turnout.telemetry import conventions as c
from turnout.telemetry.instruments import Instruments
from turnout.telemetry.schema import Telemetry
from turnout.telemetry.spans import Spans
from turnout.telemetry.tracks import Track, Tracker, opened

log = logging.getLogger("turnout.telemetry")
BATCH = 512
"""Spans that go out in one request, at most."""
GATHER = 0.5
"""Seconds for which spans are gathered."""
ENDING = 3.0
"""Seconds that sending may go on when the process is to end."""
LAST = 0.2
"""Seconds that the metrics have at least: a provider that has none left doesn't tell its thread that it's over."""
AGAIN = 60.0
"""Seconds between two lines in the log about one trouble."""


class Exporter:
    """Sends spans and metrics while it `run`s. `dropped` and `failed` count what was never sent."""

    def __init__(self, terms: Telemetry, name: str, version: str) -> None:
        """`name` tells this process from others. Raises `SettingsInvalid`."""
        headers = _headers(terms)
        for name_of_logger in (
            "opentelemetry.exporter",
            "opentelemetry.sdk.metrics",
        ):  # we say it ourselves, and once
            logging.getLogger(name_of_logger).setLevel(logging.CRITICAL)
        named = {"service.name": terms.service} if terms.service else {}
        if not terms.service and not os.environ.get("OTEL_SERVICE_NAME"):
            named = {"service.name": "turnout"}
        resource = Resource.create({**named, "service.instance.id": name, "service.version": version})
        self._spans = Spans(resource, version, terms.content) if terms.traces else None
        self._sending = OTLPSpanExporter(
            endpoint=f"{terms.endpoint}/v1/traces" if terms.endpoint else None, headers=headers, timeout=terms.timeout
        )  # fmt: skip
        self._meters: MeterProvider | None = None
        self._instruments: Instruments | None = None
        if terms.metrics:
            metrics = OTLPMetricExporter(
                endpoint=f"{terms.endpoint}/v1/metrics" if terms.endpoint else None, headers=headers,
                timeout=terms.timeout,
            )  # fmt: skip
            reader = PeriodicExportingMetricReader(metrics, export_interval_millis=terms.interval * 1000,
                                                   export_timeout_millis=terms.timeout * 1000)  # fmt: skip
            self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            self._instruments = Instruments(
                self._meters.get_meter(c.SCOPE, version, c.SCHEMA_URL), lambda: self.dropped
            )
        self._queue: queue.Queue[tuple[str, Any, Any]] = queue.Queue(terms.queue)
        self._late: set[str] = set()  # threads that rest, for which there was no place in the queue
        self._tracker = Tracker()
        self._stop = threading.Event()
        self._told = 0.0
        self.dropped = 0
        """Entries that found the queue full."""
        self.failed = 0
        """Spans that the receiver didn't take."""
        self.trouble: Exception | None = None
        """None that passes: what breaks the thread ends it, and that the receiver is down is no trouble."""
        self._broken: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._work, name="turnout-telemetry", daemon=True)

    # --- on the event loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send until cancelled; then what is queued, for a few seconds at most. Raises what broke the thread."""
        self._thread.start()
        try:
            await asyncio.wrap_future(self._broken)
        finally:
            await asyncio.to_thread(self._end)

    def began(self, view: ThreadView) -> None:
        self._late.discard(view.thread)
        self._put("began", view.thread, opened(view), 1)

    def committed(self, entries: Sequence[Entry]) -> None:
        self._put("entries", entries[0].thread, entries, len(entries))

    def rested(self, thread: str) -> None:
        if not self._put("rested", thread, None, 0):
            self._late.add(thread)

    def _put(self, what: str, thread: str, more: Any, count: int) -> bool:
        try:
            self._queue.put_nowait((what, thread, more))
        except queue.Full:
            self.dropped += count
            return False
        return True

    def _end(self) -> None:
        end = time.monotonic() + ENDING
        self._stop.set()
        self._thread.join(ENDING)
        self._sending.shutdown()  # type: ignore[no-untyped-call]
        if self._meters is not None:
            with contextlib.suppress(Exception):  # whatever it is, it is too late for it
                self._meters.shutdown(timeout_millis=max(LAST, end - time.monotonic()) * 1000)

    # --- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._go_on()
        except Exception as error:
            # When the process ends meanwhile nobody waits for it any more.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self._broken.set_exception(error)

    def _go_on(self) -> None:
        spans: list[ReadableSpan] = []
        since = time.monotonic()
        while True:
            try:
                spans += self._take(*self._queue.get(timeout=0.1))
                more = True
            except queue.Empty:
                more = False
                self._rest()
            except Exception:
                log.exception("telemetry broke on an entry; it goes on with the next")
                more = True
            stopping = self._stop.is_set()
            if spans and (
                len(spans) >= BATCH or time.monotonic() - since >= GATHER or (stopping and not more)
            ):
                self._send(spans[:BATCH])
                spans, since = spans[BATCH:], time.monotonic()
            if not spans:
                since = time.monotonic()
            if stopping and not more and not spans:
                return

    def _rest(self) -> None:
        """Keep nothing of threads that rest, whose telling found no place. They may begin again just now, in the other
        thread: so what is empty is found out by taking."""
        with contextlib.suppress(KeyError):
            while True:
                self._tracker.rested(self._late.pop())

    def _take(self, what: str, thread: str, more: Any) -> list[ReadableSpan]:
        if what == "began":
            self._tracker.began(thread, more)
            return []
        if what == "rested":
            self._tracker.rested(thread)
            return []
        found = []
        for track in self._tracker.ended(more):
            self._count(track)
            span = self._spans.of(track) if self._spans is not None else None
            if span is not None:
                found.append(span)
        return found

    def _count(self, track: Track) -> None:
        if self._instruments is not None:
            self._instruments.count(track)

    def _send(self, spans: list[ReadableSpan]) -> None:
        try:
            taken = self._sending.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # a library's, of any kind
            log.debug("sending spans broke: %s", error, exc_info=True)
            taken = False
        if not taken:
            self.failed += len(spans)
            if time.monotonic() - self._told >= AGAIN or not self._told:
                self._told = time.monotonic()
                log.warning(
                    "the telemetry receiver took none of %d spans; %d in all", len(spans), self.failed
                )


def _headers(terms: Telemetry) -> dict[str, str] | None:
    """The headers that the environment variable holds. Raises `SettingsInvalid`."""
    if not terms.headers_env:
        return None
    value = os.environ.get(terms.headers_env, "").strip()
    if not value:
        raise SettingsInvalid(f"telemetry: the environment variable {terms.headers_env} is not set")
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if any(not equals or not name.strip() for name, equals, _ in pairs):
        raise SettingsInvalid(f"telemetry: {terms.headers_env} must look like name=value,name=value")
    return {name.strip().lower(): found.strip() for name, _, found in pairs}
