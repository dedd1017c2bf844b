"""Redaction: nothing that is cut out is left anywhere, and what is left is as it was."""

import asyncio
import base64
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.runs import Work, chain

from turnout import Context, Finished, ModelReply, guard, tool
from turnout.core.redaction import Hit, redact, texts
from turnout.testing import ScriptedModel, open_test_app

ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _chars(alphabet: str, length: int) -> st.SearchStrategy[str]:
    return st.integers(0, 2**32).map(lambda seed: "".join(random.Random(seed).choices(alphabet, k=length)))


def _jwt(seed: int) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    signature = "".join(random.Random(seed).choices(ALPHANUMERIC, k=43))
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': str(seed)})}.{signature}"


def _card(seed: int) -> str:
    digits = "4" + "".join(str(random.Random(seed).randrange(10)) for _ in range(1)) + f"{seed % 10**13:013d}"
    total = sum(
        d - 9 if d > 9 else d for d in (int(c) * (1 if i % 2 else 2) for i, c in enumerate(reversed(digits)))
    )
    return digits + str(-total % 10)


def _iban(seed: int) -> str:
    inner = f"{seed % 10**18:018d}"
    return f"DE{98 - int(inner + '131400') % 97:02d}{inner}"


SECRETS = st.one_of(
    _chars("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16).map(lambda s: f"AKIA{s}"),
    _chars(ALPHANUMERIC, 36).map(lambda s: f"ghp_{s}"),
    _chars(ALPHANUMERIC, 24).map(lambda s: f"sk_live_{s}"),
    _chars(ALPHANUMERIC, 40).map(lambda s: f"sk-proj-{s}"),
    st.integers(0, 10**9).map(_jwt),
    _chars(ALPHANUMERIC, 64).map(lambda s: f"-----BEGIN PRIVATE KEY-----\n{s}\n-----END PRIVATE KEY-----"),
)
PERSONAL = st.one_of(
    st.integers(0, 10**13).map(_card), st.integers(0, 10**18 - 1).map(_iban),
    _chars("abcdefghijklmnopqrstuvwxyz", 9).map(lambda s: f"{s}@example.com"),
)  # fmt: skip
WORDS = st.text(alphabet="abc äß漢\n,;()", max_size=12)


@st.composite
def hidden(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """Plain JSON data, and the secrets in it: in texts, in keys, in lists."""
    found: list[str] = []

    def text() -> str:
        parts = [draw(WORDS)]
        for _ in range(draw(st.integers(0, 2))):
            secret = draw(st.one_of(SECRETS, PERSONAL))
            found.append(secret)
            parts += [" ", secret, " ", draw(WORDS)]
        return "".join(parts)

    def value(depth: int) -> Any:
        match draw(st.integers(0, 3 if depth else 1)):
            case 0 | 1:
                return text()
            case 2:
                return [value(depth - 1) for _ in range(draw(st.integers(0, 3)))]
            case _:
                return {f"{text()}{n}": value(depth - 1) for n in range(draw(st.integers(0, 3)))}

    return value(2), found


GUARDS = [guard("keys", "secrets", action="redact"), guard("people", "personal", action="redact")]


def cleaned(value: Any) -> Any:
    for one in GUARDS:
        value = redact(value, one.check(value))  # type: ignore[arg-type]
    return value


@given(hidden())
def test_no_secret_is_left_and_a_second_look_finds_nothing(case: tuple[Any, list[str]]):
    value, secrets = case
    before = json.dumps(value)
    left = cleaned(value)
    said = "\n".join(text.text for text in texts(left))
    assert not [secret for secret in secrets if secret in said]
    assert cleaned(left) == left
    assert json.dumps(value) == before  # what was given isn't changed


@given(st.text(max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20)), max_size=6))
def test_what_is_not_hit_stays_where_it_was(text: str, spans: list[tuple[int, int]]):
    hits = [
        Hit("x", (), start, min(length, len(text) - start)) for start, length in spans if start < len(text)
    ]
    gone = {at for hit in hits for at in range(hit.start, hit.start + hit.length)}
    left = redact(text, hits)
    assert (
        left.replace("[redacted:x]", "") == "".join(c for at, c in enumerate(text) if at not in gone)
        or "[redacted" in text
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hidden(), hidden(), hidden())
def test_no_secret_is_in_any_byte_of_the_store(
    sent: tuple[Any, list[str]], given: tuple[Any, list[str]], said: tuple[Any, list[str]]
):
    @tool(effect="read")
    async def look(what: Any) -> Any:
        return given[0]

    @tool(effect="write")
    async def send(what: Any) -> Any:
        return given[0]

    async def step(state: Work, ctx: Context) -> dict[str, Any]:
        await ctx.call(look, what=sent[0])
        await ctx.call(send, what=sent[0])
        reply = await ctx.model("main", messages=json.dumps(sent[0], ensure_ascii=False))
        return {"data": [await ctx.call(look, what=1), reply.text]}

    async def run(folder: str) -> None:
        model = ScriptedModel([ModelReply(text=json.dumps(said[0], ensure_ascii=False))])
        graph = chain(step, tools=[look, send])
        async with open_test_app(
            f"sqlite:///{folder}/t.db", graphs=[graph], models={"main": model}, guards=GUARDS
        ) as app:
            assert isinstance(await app.run("g", {}, thread="t"), Finished)
            replayed = await app.replay("t")
            assert replayed.identical, replayed.divergence

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))
        stored = b"".join(path.read_bytes() for path in Path(folder).iterdir())
        for secret in {*sent[1], *given[1], *said[1]}:
            for line in secret.splitlines():  # of a private key the first and the last are no secret
                if not line.startswith("-----"):
                    assert line.encode() not in stored
