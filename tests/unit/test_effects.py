"""Effects are matched by content: kind, name, arguments and occurrence within their step."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnout.core.effects import Effect, Hit, Miss, Record, Request, content_key, slot
from turnout.core.entries import Divergence


def effect(request: Request, n: int = 0, status: str = "done", result: Any = None) -> tuple[str, Effect]:
    key = content_key(request)
    made = Effect(
        kind=request.kind, name=request.name, key=key, n=n, seq=7, status=status, write=request.write, args=request.args,
        result=result,
    )  # fmt: skip
    return slot(key, n), made


def ask(record: Record, request: Request) -> Hit | Miss | Divergence:
    key = content_key(request)
    return record.match(request, key, record.next_slot(key))


def read(name: str, **args: Any) -> Request:
    return Request("tool", name, args)


def write(name: str, **args: Any) -> Request:
    return Request("tool", name, args, write=True)


def test_the_key_follows_the_content_and_nothing_else() -> None:
    key = content_key(read("look", a=1, b={"x": 1, "y": 2}))
    assert key == content_key(Request("tool", "look", {"b": {"y": 2, "x": 1}, "a": 1}))
    assert len(key) == 32
    others = [read("look", a=2, b={"x": 1, "y": 2}), read("see", a=1, b={"x": 1, "y": 2}), Request("once", "look", {"a": 1}),
              read("look", a=True, b={"x": 1, "y": 2}), read("look", a=1.0, b={"x": 1, "y": 2})]  # fmt: skip
    assert key not in {content_key(other) for other in others}


def test_an_answer_is_found_whatever_the_order_of_the_calls() -> None:
    record = Record("s", dict([effect(read("a"), result=1), effect(read("b"), result=2)]))
    assert isinstance(ask(record, read("new")), Miss)
    assert [
        found.effect.result for r in (read("b"), read("a")) if isinstance(found := ask(record, r), Hit)
    ] == [2, 1]
    assert record.unclaimed() == []


def test_equal_requests_are_told_apart_by_their_occurrence() -> None:
    record = Record("s", dict([effect(read("a"), 0, result="first"), effect(read("a"), 1, result="second")]))
    found = [ask(record, read("a")) for _ in range(3)]
    assert [f.effect.result if isinstance(f, Hit) else None for f in found] == ["first", "second", None]


def test_a_new_write_before_a_recorded_one_is_a_divergence_that_shows_both() -> None:
    record = Record("s", dict([effect(write("pay", amount=5))]))
    found = ask(record, write("pay", amount=6))
    assert found == Divergence("step s", 'tool pay({"amount":5})', 'tool pay({"amount":6})', 7)
    assert isinstance(ask(record, write("pay", amount=5)), Hit)
    assert isinstance(ask(record, write("pay", amount=7)), Miss)  # nothing is left unclaimed


def test_a_new_read_before_a_recorded_write_is_no_harm() -> None:
    record = Record("s", dict([effect(write("pay"))]))
    assert isinstance(ask(record, read("look")), Miss)


def test_a_write_that_did_not_happen_stands_in_nobodys_way() -> None:
    for status in ("failed", "absent"):
        record = Record("s", dict([effect(write("pay", amount=5), status=status)]))
        assert isinstance(ask(record, write("pay", amount=6)), Miss)


def test_what_was_not_asked_for_is_known() -> None:
    record = Record("s", dict([effect(read("a")), effect(read("b"))]))
    ask(record, read("b"))
    assert [left.name for left in record.unclaimed()] == ["a"]


@given(st.permutations([("a", 1), ("a", 2), ("b", 1), ("a", 1), ("b", 1)]))
def test_in_any_order_every_request_gets_an_answer_of_its_own_content(order: list[tuple[str, int]]) -> None:
    requests = [write(name, x=x) for name, x in [("a", 1), ("a", 2), ("b", 1), ("a", 1), ("b", 1)]]
    seen: dict[str, int] = {}
    effects = {}
    for request in requests:
        key = content_key(request)
        n = seen.get(key, 0)
        seen[key] = n + 1
        at, made = effect(request, n, result=[request.name, request.args])
        effects[at] = made
    record = Record("s", effects)
    for name, x in order:
        found = ask(record, write(name, x=x))
        assert isinstance(found, Hit)
        assert found.effect.result == [name, {"x": x}]
    assert record.unclaimed() == []
