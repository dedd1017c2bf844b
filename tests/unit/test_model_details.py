"""Small parts of the models: prices, schemas, refusals, what old journals have."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from turnout import ImagePart, Message, ModelReply, ModelRequest, TextPart, ToolCall, Usage
from turnout.core import canon
from turnout.core import entries as e
from turnout.core.attempts import Attempt, Price
from turnout.core.effects import Request, content_key
from turnout.core.failures import kind_of
from turnout.core.output import Misfit, json_in
from turnout.errors import ModelFailed, ModelRateLimited, ModelTimeout, SettingsInvalid
from turnout.models import connection, prices, refusals, shape
from turnout.models.health import estimate
from turnout.models.refusals import Said, failure
from turnout.models.schema import Deployment

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
AT = int(NOW.timestamp()) * 1_000_000


# --- prices


def terms(**more):
    return Deployment.model_validate({"provider": "openai", "model": "gpt-4o-mini", **more})


def test_a_cost_is_whole_millionths_of_a_dollar_rounded_up():
    price, micros = prices.cost(terms(), "gpt-4o-mini", Usage(input_tokens=1, output_tokens=1), AT)
    assert (price.provider, price.model) == ("openai", "gpt-4o-mini")
    assert price.row["input_mtok"] == "0.15"
    assert micros == 1  # 0.75 millionths


def test_cached_tokens_have_a_price_of_their_own():
    row = {"input": Decimal(10), "output": Decimal(20), "cache_read": Decimal(1)}
    usage = Usage(input_tokens=1_000, output_tokens=100, cache_read_tokens=900, cache_write_tokens=50)
    price, micros = prices.cost(terms(price=row), "whatever", usage, AT)
    assert micros == 50 * 10 + 900 * 1 + 50 * 10 + 100 * 20
    assert price == Price(
        source="turnout.toml", row={"input_mtok": "10", "output_mtok": "20", "cache_read_mtok": "1"}
    )


def test_a_cost_is_never_negative_though_cached_tokens_are_not_counted_into_the_input():
    row = {"input": Decimal(3), "output": Decimal(15), "cache_read": Decimal("0.3")}
    usage = Usage(input_tokens=10, output_tokens=20, cache_read_tokens=50_000)
    assert prices.cost(terms(price=row), "whatever", usage, AT)[1] == 15_000 + 300
    by_list = prices.cost(terms(), "gpt-4o-mini", usage, AT)
    counted_in = usage.model_copy(update={"input_tokens": 50_000})
    assert by_list == prices.cost(terms(), "gpt-4o-mini", counted_in, AT)
    assert by_list[1] > 0


def test_a_deployments_options_bound_the_answer_by_a_whole_number():
    assert terms(options={"max_output_tokens": 9}).options == {"max_output_tokens": 9}
    for bad in (-1, 0, Decimal("100000.0"), "9"):
        with pytest.raises(ValueError, match="max_tokens must be a whole number above 0"):
            terms(options={"max_tokens": bad})


def test_behind_an_address_of_ones_own_nobody_knows_the_price_unless_it_is_said():
    usage = Usage(input_tokens=1_000)
    assert prices.cost(terms(base_url="http://h/v1"), "gpt-4o-mini", usage, AT) is None
    assert (
        prices.cost(terms(base_url="http://h/v1", priced_as="openai/gpt-4o-mini"), "x", usage, AT)[1] == 150
    )
    assert prices.cost(terms(model="no-such-model"), "no-such-model", usage, AT) is None


def test_a_price_in_tiers_is_recorded_as_it_is():
    price, micros = prices.cost(terms(priced_as="openai/gpt-5.5"), "x", Usage(input_tokens=300_000), AT)
    assert price.row["input_mtok"]["tiers"][0]["start"] == 272_000
    assert micros == 300_000 * 10
    assert msgspec.json.decode(msgspec.json.encode(price), type=Price) == price


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.decimals(0, 1_000, places=3),
    st.decimals(0, 1_000, places=3),
)
def test_a_cost_is_never_less_than_what_the_row_says_and_never_a_millionth_more(into, out, dear, dearer):
    row = {"input": dear, "output": dearer}
    _, micros = prices.cost(terms(price=row), "x", Usage(input_tokens=into, output_tokens=out), AT)
    exact = into * dear + out * dearer
    assert exact <= micros < exact + 1


# --- refusals


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90))}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90))}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_a_retry_after_is_read_in_every_form_that_it_has(headers, seconds):
    assert refusals.retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said(400, "This model's maximum context length is 8192 tokens"), "ContextWindowExceeded"),
        (Said(400, "prompt is too long: 210000 tokens > 200000 maximum"), "ContextWindowExceeded"),
        (Said(400, "request (5031 tokens) exceeds the available context size", ("exceed_context_size_error",)), "ContextWindowExceeded"),
        (Said(413, "Request Entity Too Large"), "ContextWindowExceeded"),
        (Said(400, "filtered due to the content management policy", ("content_filter",)), "ContentFiltered"),
        (Said(429, "You exceeded your quota", ("insufficient_quota",)), "CredentialsRefused"),
        (Said(429, "slow down", ("rate_limit_exceeded",)), "ModelRateLimited"),
        (Said(529, "Overloaded", ("overloaded_error",)), "ModelUnavailable"),
        (Said(504, "gateway timeout"), "ModelTimeout"),
        (Said(302, "elsewhere"), "ModelRequestRefused"),
        (Said(0, "Overloaded", ("overloaded_error",)), "ModelUnavailable"),
        (Said(0, "slow down", ("rate_limit_exceeded",)), "ModelRateLimited"),
        (Said(0, "who knows"), "AnswerBroken"),
    ],
)  # fmt: skip
def test_what_an_upstream_says_is_an_error_of_ours(said, kind):
    assert type(failure(said, (), NOW)).__name__ == kind


@given(
    st.text(min_size=8, max_size=60).filter(lambda s: s.strip() == s and " " not in s and s.isprintable()),
    st.text(max_size=80),
)
def test_no_key_gets_through_an_upstreams_message(key, around):
    assert key not in refusals.clean(f"{around}{key}{around}", (key,)).replace("[key]", "")


@pytest.mark.parametrize(
    "text",
    ["Bearer abcdef123456", "sk-proj-0123456789abcdef", "Incorrect API key: sk-ab****************wxyz."],
)
def test_what_looks_like_a_key_gets_through_neither(text):
    assert "[key]" in refusals.clean(text, ())
    assert "0123456789" not in refusals.clean(text, ())


def test_a_kind_of_failure_has_the_same_name_on_record_and_as_a_class():
    assert kind_of("ModelRateLimited") is ModelRateLimited
    assert kind_of("RuntimeError") is ModelFailed
    assert isinstance(ModelTimeout("x"), TimeoutError)


# --- schemas


class Inner(BaseModel):
    label: str
    note: str | None = None


class Outer(BaseModel):
    inner: Inner
    tags: list[Inner] = []
    kind: int = 3


def test_a_strict_schema_closes_and_requires_everything():
    closed = shape.strict(shape.wrapped(Outer.model_json_schema())[0])
    assert closed["required"] == ["inner", "tags", "kind"]
    assert closed["$defs"]["Inner"]["required"] == ["label", "note"]
    assert closed["$defs"]["Inner"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"x": {}}},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ],
)
def test_what_is_open_by_nature_is_not_called_strict(schema):
    assert shape.strict(schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "array", "items": {"$ref": "#/$defs/I"}, "$defs": {"I": {"type": "integer"}}},
    ],
)
def test_what_is_no_object_is_wrapped_in_one_with_its_definitions_at_the_top(schema):
    outer, was_wrapped = shape.wrapped(schema)
    assert was_wrapped
    assert outer["type"] == "object"
    assert outer.get("$defs") == schema.get("$defs")
    assert shape.unwrapped('{"value": 7}', was_wrapped) == 7
    assert shape.unwrapped("7", was_wrapped) == 7  # an upstream that wasn't held to the schema


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', ' ```\n{"a": 1}\n``` '])
def test_json_is_read_bare_or_fenced(text):
    assert json_in(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", 'Sure! {"a": 1}', '{"a": NaN}', "{" * 10_000])
def test_what_is_no_json_is_told_and_never_guessed(text):
    assert isinstance(json_in(text), Misfit)


# --- messages and journals


def test_an_image_has_an_address_or_data_with_its_type():
    assert ImagePart.of(b"\x89PNG", "image/png").data == "iVBORw=="
    for wrong in (
        {},
        {"url": "http://x/y.png", "data": "x", "media_type": "image/png"},
        {"data": "x"},
        {"url": "u", "media_type": "image/png"},
    ):
        with pytest.raises(ValidationError):
            ImagePart(**wrong)


def test_parts_come_back_from_the_journal_as_what_they_were():
    message = Message(role="user", content=(TextPart(text="look"), ImagePart(url="http://x/y.png")))
    again = Message.model_validate(canon.decode(canon.encode(canon.plain(message))))
    assert again == message
    assert message.text == "look"


def test_a_request_of_plain_text_has_the_content_key_that_it_always_had():
    wanted = ModelRequest(alias="main", messages=(Message(role="user", content="hi"),))
    args = wanted.model_dump(mode="json", exclude={"alias"}, exclude_defaults=True)
    assert args == {"messages": [{"role": "user", "content": "hi"}]}
    assert content_key(Request("model", "main", args)) == content_key(
        Request("model", "main", {"messages": [{"role": "user", "content": "hi"}]})
    )
    state = canon.plain(Message(role="user", content="hi"))
    assert state == {"content": "hi", "name": "", "role": "user", "tool_call_id": "", "tool_calls": []}


def test_a_reply_of_an_older_journal_is_read_as_before():
    reply = ModelReply.model_validate({"text": "hi", "usage": {"input_tokens": 3}, "cost_micros": 4})
    assert (reply.usage.input_tokens, reply.usage.cache_read_tokens, reply.finish) == (3, 0, "stop")


def test_an_attempt_survives_its_own_bytes():
    attempt = Attempt(
        alias="m",
        deployment="a",
        why="first",
        at=AT,
        ms=3,
        usage={"input_tokens": 1},
        cost_micros=2,
        price=Price(source="s"),
    )
    body = e.ModelAttempted(name="m", key="k" * 32, attempt=attempt)
    assert e.decode_body("model.attempted", canon.encode(body)) == body


def test_an_estimate_counts_text_tools_images_and_the_answer():
    text = ModelRequest(
        alias="m", messages=(Message(role="user", content="x" * 4_000),), options={"max_output_tokens": 10}
    )
    assert 1_000 <= estimate(text) <= 1_020
    image = ModelRequest(alias="m", messages=(Message(role="user", content=(ImagePart(url="http://x"),)),))
    assert estimate(image) > 1_000


# --- imports


def test_nothing_of_an_sdk_is_imported_before_it_is_needed():
    program = (
        "import sys, turnout, turnout.wiring, turnout.cli.main\n"
        "print(sorted({'openai', 'anthropic', 'httpx2', 'genai_prices', 'xllamacpp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_sdk_is_told_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'turnout\[openai\]'"):
        connection.sdk("openai")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Message(role="user", contnt="hi"), "Message has no 'contnt'; did you mean 'content'?"),
        (lambda: ToolCall(id="1", name="pay", arguments={}), "ToolCall has no 'arguments'; did you mean 'args'?"),
        (lambda: ModelReply(txt="hi"), "ModelReply has no 'txt'; did you mean 'text'?"),
        (lambda: Usage(prompt_tokens=9), "Usage has no 'prompt_tokens'; did you mean"),
        (lambda: Message(role="user", zzz="hi"), "Message has no 'zzz'; it has role, content, tool_calls"),
        (
            lambda: Message.model_validate_json('{"role": "assistant", "tool_calls": [{"id": "1", "nam": "pay"}]}'),
            "ToolCall has no 'nam'; did you mean 'name'?",
        ),
    ],
)  # fmt: skip
def test_a_field_that_a_message_does_not_have_is_refused_with_the_name_that_was_meant(make, words):
    """It was dropped without a word, and what it said with it."""
    with pytest.raises(ValidationError) as refused:
        make()
    assert words in str(refused.value)


def test_a_message_of_somebody_s_own_has_its_own_fields():
    class Noted(Message):
        note: str = Field("", alias="remark")

    class Open(ModelReply):
        model_config = ConfigDict(extra="allow")

    assert Noted(role="user", remark="later").note == "later"
    with pytest.raises(ValidationError, match="Noted has no 'remrk'; did you mean 'remark'"):
        Noted(role="user", remrk="later")
    assert Open(text="hi", raw=1).model_extra == {"raw": 1}


def test_that_messages_refuse_what_they_do_not_have_changes_no_fingerprint():
    """`additionalProperties` in the schema of a state would: every unfinished run would have to be adopted."""
    assert "additionalProperties" not in Message.model_json_schema(mode="serialization")
    assert (
        "additionalProperties" not in canon.encode(ModelReply.model_json_schema()["$defs"]["Usage"]).decode()
    )
