"""What has happened, as metrics of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from turnout.telemetry import conventions as c
from turnout.telemetry.counts import counts_of
from turnout.telemetry.tracks import Track


class Instruments:
    """Counts tracks. `dropped` says how many entries were never looked at."""

    def __init__(self, meter: Meter, dropped: Callable[[], int]) -> None:
        seconds = list(c.SECOND_BUCKETS)
        self._by_name: dict[str, Any] = {
            c.RUNS: meter.create_counter(c.RUNS, "{run}", "runs that ended"),
            c.STEPS: meter.create_counter(c.STEPS, "{step}", "steps that ended"),
            c.EFFECTS: meter.create_counter(c.EFFECTS, "{effect}", "effects that ended"),
            c.VERDICTS: meter.create_counter(c.VERDICTS, "{verdict}", "what policy said of calls"),
            c.FINDINGS: meter.create_counter(c.FINDINGS, "{finding}", "what guardrails found"),
            c.COSTS: meter.create_counter(c.COSTS, "{micro}", "millionths of the currency unit that models cost"),
            c.STEP_DURATION: meter.create_histogram(
                c.STEP_DURATION, "s", "from the decision to the end of a step", explicit_bucket_boundaries_advisory=seconds
            ),
            c.MODEL_DURATION: meter.create_histogram(
                c.MODEL_DURATION, "s", "how long a model took", explicit_bucket_boundaries_advisory=seconds
            ),
            c.TOKENS_USED: meter.create_histogram(
                c.TOKENS_USED, "{token}", "tokens of a model call", explicit_bucket_boundaries_advisory=list(c.TOKEN_BUCKETS)
            ),
        }  # fmt: skip

        def lost(options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(dropped())

        meter.create_observable_counter(c.DROPPED, [lost], "{entry}", "entries that found the queue full")

    def count(self, track: Track) -> None:
        """Count what a track brings to an end."""
        for name, amount, attributes in counts_of(track):
            instrument = self._by_name[name]
            record = getattr(instrument, "add", None) or instrument.record
            record(amount, attributes)
