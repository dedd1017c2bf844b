"""What turnout.toml may say of telemetry: `[telemetry]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from turnout.settings_file import Section

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Telemetry(Section):
    """`[telemetry]`: that it is there turns the export to OpenTelemetry on.

    `endpoint` is the address of an OTLP receiver that takes HTTP, without a path; without it the standard variables count
    (OTEL_EXPORTER_OTLP_ENDPOINT and the rest), as they do for all that isn't said here. `headers_env` names the
    environment variable with the headers that it wants, `name=value,name=value`. `content`: are arguments, messages and
    results sent along? `queue` is how many entries may wait to be sent; what comes on top is dropped, and counted.
    `interval` (seconds) is how often metrics are sent, `timeout` how long one request may take.
    """

    hints: ClassVar[Mapping[str, str]] = {
        "headers": 'they may hold secrets: put them into an environment variable and name that: headers_env = "..."',
    }
    endpoint: str = ""
    headers_env: str = ""
    service: str = ""
    traces: bool = True
    metrics: bool = True
    content: bool = False
    queue: int = Field(10_000, ge=1, le=1_000_000)
    interval: Seconds = 60.0
    timeout: Seconds = 10.0

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("https", "http") or not parts.hostname):
            raise ValueError("it is an address like http://collector:4318")
        return value.rstrip("/")


class TelemetrySettings(Section):
    """What a turnout.toml says about telemetry."""

    telemetry: Telemetry | None = None
