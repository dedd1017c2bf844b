"""Checks of guardrails: pure functions of what they look at. They are reached through `turnout.wiring`."""
