"""What has happened in this process, and how the store stands, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from turnout.core.entries import Entry
from turnout.core.view import ThreadView
from turnout.ports.rows import Census
from turnout.telemetry import conventions as c
from turnout.telemetry.counts import counts_of
from turnout.telemetry.tracks import Tracker, opened


class Meters:
    """An observer whose counts can be scraped. They are this process's own; gauges are of the store."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._counting: dict[tuple[Any, ...], Callable[[float], None]] = {}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        graph, node = _label(c.GRAPH), _label(c.NODE)
        model = [_label(c.OPERATION), _label(c.PROVIDER), _label(c.REQUEST_MODEL), _label(c.ERROR)]
        self._by_name: dict[str, Any] = {
            c.RUNS: self._counter("turnout_runs", "Runs that ended here.", [graph, _label(c.STATUS)]),
            c.STEPS: self._counter("turnout_steps", "Steps that ended here.", [graph, node, _label(c.OUTCOME)]),
            c.EFFECTS: self._counter(
                "turnout_effects", "Effects that ended here.", [graph, _label(c.EFFECT), _label(c.NAME), _label(c.OUTCOME)]
            ),
            c.VERDICTS: self._counter(
                "turnout_verdicts", "What policy said of calls.", [graph, _label(c.NAME), _label(c.VERDICT)]
            ),
            c.FINDINGS: self._counter(
                "turnout_findings", "What guardrails found.", [graph, _label(c.GUARD), _label(c.ACTION)]
            ),
            c.COSTS: self._counter("turnout_model_cost_micros", "Millionths of the currency unit that models cost.", model),
            c.STEP_DURATION: self._histogram(
                "turnout_step_duration_seconds", "From the decision to the end of a step.", [graph, node], c.SECOND_BUCKETS
            ),
            c.MODEL_DURATION: self._histogram(
                "gen_ai_client_operation_duration_seconds", "How long a model took.", model, c.SECOND_BUCKETS
            ),
            c.TOKENS_USED: self._counter(
                "gen_ai_client_tokens", "Tokens of model calls.", [*model, _label(c.TOKEN_TYPE)]
            ),
        }  # fmt: skip
        self._threads = self._gauge("turnout_threads", "Threads of the store, by status.", ["status"])
        self._due = self._gauge("turnout_threads_due", "Threads that wait for a worker.")
        self._held = self._gauge("turnout_threads_held", "Threads that a worker drives.")
        self._aside = self._gauge("turnout_threads_set_aside", "Threads that no worker takes any more.")
        self._reviews = self._gauge("turnout_reviews_open", "Reviews that wait for somebody.")
        self._outbox = self._gauge("turnout_outbox", "Notices of the store, by status.", ["status"])
        self._lost = self._gauge(
            "turnout_telemetry_dropped_entries", "Entries that had no place in the export's queue."
        )

    def _counter(self, name: str, about: str, labels: Sequence[str]) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)

    # --- observing: on the event loop, some microseconds an entry ------------------------------------------------

    def began(self, view: ThreadView) -> None:
        self._tracker.began(view.thread, opened(view))

    def committed(self, entries: Sequence[Entry]) -> None:
        for track in self._tracker.ended(entries):
            for name, amount, attributes in counts_of(track):
                key = (name, *attributes.items())
                count = self._counting.get(key)
                if count is None:
                    count = self._counting[key] = self._count(name, attributes)
                count(amount)

    def _count(self, name: str, attributes: Mapping[str, str]) -> Callable[[float], None]:
        """What counts for these attributes."""
        meter = self._by_name[name]
        labels = dict.fromkeys(meter._labelnames, "") | {_label(k): v for k, v in attributes.items()}
        child = meter.labels(**labels)
        count: Callable[[float], None] = child.observe if isinstance(meter, Histogram) else child.inc
        return count

    def rested(self, thread: str) -> None:
        self._tracker.rested(thread)

    # --- being asked -------------------------------------------------------------------------------------------

    def render(
        self, accept: str, census: Census, outbox: Mapping[str, int], dropped: int = 0
    ) -> tuple[bytes, str]:
        """All of it in the format that `accept` asks for, and the name of that format."""
        self._threads.clear()  # else a status that no thread has any more would keep its last count
        for status, count in census.threads.items():
            self._threads.labels(status=status).set(count)
        self._due.set(census.due)
        self._held.set(census.held)
        self._aside.set(census.aside)
        for status in ("waiting", "sent", "dead", "withdrawn"):
            self._outbox.labels(status=status).set(outbox.get(status, 0))
        self._reviews.set(census.reviews)
        self._lost.set(dropped)
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind


def _label(name: str) -> str:
    """The name of an attribute, as Prometheus takes it."""
    return name.removeprefix("turnout.").replace(".", "_")
