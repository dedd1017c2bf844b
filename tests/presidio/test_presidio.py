"""The guardrail that asks Presidio, which lives in a venv of its own (`make test-presidio`)."""

from typing import Any

import pytest
from tests.unit.runs import Work, chain, proven

from turnout import Context, Finished, guard, tool
from turnout.core.redaction import redact
from turnout.errors import SettingsInvalid
from turnout.testing import open_test_app

pytestmark = pytest.mark.presidio
TEXT = "mail ada@example.com or pay with 4111 1111 1111 1111 from DE89370400440532013000"


def test_it_finds_what_has_a_pattern_without_a_language_model():
    found = guard("people", "presidio", only=["email-address", "CREDIT_CARD", "iban-code"])
    hits: Any = found.check(TEXT)
    assert redact(TEXT, hits) == (
        "mail [redacted:email-address] or pay with [redacted:credit-card] from [redacted:iban-code]"
    )
    left = redact(TEXT, hits)
    assert found.check(left) == []


def test_a_kind_or_a_language_model_that_there_is_not_is_refused():
    with pytest.raises(SettingsInvalid, match="presidio has no 'emails'"):
        guard("people", "presidio", only=["emails"])
    with pytest.raises(SettingsInvalid, match="can't be had"):
        guard("people", "presidio", model="no_such_model")


async def test_it_is_asked_at_the_gate():
    @tool(effect="read")
    async def look(text: str) -> str:
        return f"you said: {text}"

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        return {"data": await ctx.call(look, text=TEXT)}

    guards = [
        guard(
            "people",
            "presidio",
            on="input",
            action="redact",
            only=["email-address", "credit-card", "iban-code"],
        )
    ]
    async with open_test_app(graphs=[chain(step, tools=[look])], guards=guards) as app:
        outcome = await app.run("g", {}, thread="t")
        assert isinstance(outcome, Finished)
        assert "ada@" not in outcome.state.data
        assert "4111" not in outcome.state.data
        await proven(app)
