"""Telemetry: spans and metrics of what the journal says, for OpenTelemetry and Prometheus. Runs never wait for it."""
