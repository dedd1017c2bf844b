"""When a schedule's slots are, and what becomes of them: pure, so every clock is a number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.core.schedules import (
    EPOCH,
    MICRO,
    TOLERANCE,
    Before,
    Fire,
    Rules,
    Skip,
    Wait,
    decide,
    expression,
    moment,
    text,
)
from turnout.errors import InputInvalid

BERLIN, NEW_YORK, BEIRUT = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Beirut")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its clocks change by half an hour
CARACAS = ZoneInfo("America/Caracas")
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


def micros(when: datetime) -> int:
    return (when - EPOCH) // MICRO


def at(said: str, zone: ZoneInfo | None = None) -> int:
    """A moment, in the wall time of a zone, else UTC."""
    return micros(datetime.fromisoformat(said).replace(tzinfo=zone or UTC))


def walls(cron: str, zone: ZoneInfo, after: str, count: int) -> list[str]:
    """The next slots in the wall time of the zone, with its offset."""
    rules, slot, found = Rules(zone, cron), at(after, zone), []
    for _ in range(count):
        following = rules.next(slot)
        assert following is not None
        assert following > slot
        slot = following
        found.append(moment(slot).astimezone(zone).strftime("%m-%d %H:%M %z"))
    return found


# --- over the changes of the clocks ----------------------------------------------------------------------------------


def test_a_time_that_a_spring_night_does_not_have_comes_right_after_the_gap() -> None:
    assert walls("30 2 * * *", BERLIN, "2026-03-28T00:00", 3) == [
        "03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200",
    ]  # fmt: skip
    assert walls("30 2 * * *", NEW_YORK, "2026-03-07T00:00", 3) == [
        "03-07 02:30 -0500", "03-08 03:00 -0400", "03-09 02:30 -0400",
    ]  # fmt: skip


def test_a_time_that_an_autumn_night_has_twice_comes_once() -> None:
    assert walls("30 2 * * *", BERLIN, "2026-10-24T00:00", 3) == [
        "10-24 02:30 +0200", "10-25 02:30 +0200", "10-26 02:30 +0100",
    ]  # fmt: skip
    assert walls("30 1 * * *", NEW_YORK, "2026-10-31T00:00", 3) == [
        "10-31 01:30 -0400", "11-01 01:30 -0400", "11-02 01:30 -0500",
    ]  # fmt: skip


def test_asked_in_the_second_of_two_equal_hours_it_gives_no_time_of_the_first() -> None:
    rules = Rules(BERLIN, "30 2 * * *")
    for utc in (
        "2026-10-25T01:10",
        "2026-10-25T00:31",
        "2026-10-25T01:59",
    ):  # 02:10 +01, 02:31 +02, 02:59 +01
        assert rules.next(at(utc)) == at("2026-10-26T02:30", BERLIN)
    assert rules.next(at("2026-10-25T00:29")) == at("2026-10-25T00:30")


def test_what_goes_by_the_hour_goes_on_evenly_through_both_changes() -> None:
    for zone in (BERLIN, NEW_YORK, LORD_HOWE):
        for begin in ("2026-03-08T00:00", "2026-03-29T00:00", "2026-04-05T00:00", "2026-10-04T00:00",
                      "2026-10-25T00:00", "2026-11-01T00:00"):  # fmt: skip
            slot = at(begin) - DAY
            for _ in range(96):
                following = Rules(zone, "*/30 * * * *").next(slot)
                assert following == slot + HOUR // 2
                slot = following


def test_a_midnight_that_a_day_does_not_have() -> None:
    """In Lebanon the clocks go from 24:00 to 01:00."""
    assert walls("0 0 * * *", BEIRUT, "2026-03-27T12:00", 3) == [
        "03-28 00:00 +0200", "03-29 01:00 +0300", "03-30 00:00 +0300",
    ]  # fmt: skip
    # Minutes of an hour that isn't there don't come; hours that are there do, each once, wherever one starts to look.
    for after in ("2026-03-28T00:59", "2026-03-28T13:00", "2026-03-28T23:59"):
        assert walls("* 0 * * *", BEIRUT, after, 2) == ["03-30 00:00 +0300", "03-30 00:01 +0300"]
        assert walls("0 * 29 3 *", BEIRUT, after, 3) == [
            "03-29 01:00 +0300", "03-29 02:00 +0300", "03-29 03:00 +0300",
        ]  # fmt: skip


def test_what_goes_by_the_hour_misses_no_hour_that_begins_with_a_change_of_half_an_hour() -> None:
    """In Venezuela the clocks went from 02:30 to 03:00, for good."""
    for cron in ("0 * * * *", "0 */1 * * *"):
        for after in ("2016-05-01T01:30", "2016-05-01T02:00", "2016-05-01T02:29"):
            hours = [wall for wall in walls(cron, CARACAS, after, 4) if wall > "05-01 02:00 -0430"]
            assert hours[:2] == ["05-01 03:00 -0400", "05-01 04:00 -0400"]
    assert walls("30 2 * * *", CARACAS, "2016-04-30T00:00", 3) == [
        "04-30 02:30 -0430", "05-01 03:00 -0400", "05-02 02:30 -0400",
    ]  # fmt: skip


def test_the_fixed_times_of_a_day_that_a_zone_has_left_out_come_right_after_it() -> None:
    assert walls("15 1 * * *", ZoneInfo("Pacific/Apia"), "2011-12-29T00:00", 4) == [
        "12-29 01:15 -1000", "12-31 00:00 +1400", "12-31 01:15 +1400", "01-01 01:15 +1400",
    ]  # fmt: skip


# --- days, months, years ---------------------------------------------------------------------------------------------


def test_ends_of_months_and_leap_days() -> None:
    assert [text(slot) for slot in slots("0 12 31 * *", "2026-01-31T12:00", 3)] == [
        "2026-03-31T12:00Z", "2026-05-31T12:00Z", "2026-07-31T12:00Z",
    ]  # fmt: skip
    assert [text(slot) for slot in slots("0 12 L * *", "2028-01-31T12:00", 3)] == [
        "2028-02-29T12:00Z", "2028-03-31T12:00Z", "2028-04-30T12:00Z",
    ]  # fmt: skip
    assert [text(slot) for slot in slots("0 0 29 2 *", "2026-01-01T00:00", 2)] == [
        "2028-02-29T00:00Z", "2032-02-29T00:00Z",
    ]  # fmt: skip
    assert [text(slot) for slot in slots("0 9 * * MON-FRI", "2026-12-31T09:00", 2)] == [
        "2027-01-01T09:00Z", "2027-01-04T09:00Z",
    ]  # fmt: skip


def slots(cron: str, after: str, count: int) -> list[int]:
    rules, slot, found = Rules(UTC, cron), at(after), []
    for _ in range(count):
        slot = rules.next(slot) or 0
        found.append(slot)
    return found


def test_a_moment_comes_once() -> None:
    rules = Rules(UTC, at=at("2026-12-01T09:00"))
    assert rules.next(rules.at - 1) == rules.at  # type: ignore[operator]
    assert rules.next(rules.at) is None  # type: ignore[arg-type]


def test_a_slot_is_written_with_no_more_than_it_has() -> None:
    assert text(at("2026-11-26T02:00")) == "2026-11-26T02:00Z"
    assert text(at("2026-11-26T02:00:05")) == "2026-11-26T02:00:05Z"
    assert text(at("2026-11-26T02:00:05.000007")) == "2026-11-26T02:00:05.000007Z"


fields = st.tuples(
    st.sampled_from(["*", "*/7", "0", "59", "0,30", "5-20/5", "13"]),
    st.sampled_from(["*", "*/5", "0", "1", "2", "1-3", "2,14", "23"]),
    st.sampled_from(["*", "1", "29", "31", "25-31", "8,29"]),
    st.sampled_from(["*", "3", "10,11", "2-4", "FEB"]),
    st.sampled_from(["*", "SUN", "1-5", "0,6"]),
)
moments = st.integers(at("2024-01-01T00:00"), at("2030-01-01T00:00"))
zones = st.sampled_from([BERLIN, NEW_YORK, BEIRUT, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("America/St_Johns")])


def members(field: str, low: int, high: int) -> set[int]:
    """The numbers that a field of the strategies above means."""
    names = {"SUN": "0", "FEB": "2"}
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = names.get(part, part).partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def says(parts: tuple[str, ...], wall: datetime) -> bool:
    """Does the cron expression say this minute? Written down from crontab(5), with nothing of the library's."""
    minute, hour, day, month, weekday = parts
    of_month = wall.day in members(day, 1, 31)
    of_week = wall.isoweekday() % 7 in members(weekday, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")
    return (
        wall.minute in members(minute, 0, 59)
        and wall.hour in members(hour, 0, 23)
        and wall.month in members(month, 1, 12)
        and (of_month and of_week if both else of_month or of_week)
    )


def possible(parts: tuple[str, ...]) -> bool:
    try:
        expression(" ".join(parts))
    except InputInvalid:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(fields.filter(possible), moments, zones)
def test_the_next_slot_is_strictly_later_and_at_a_time_that_the_cron_says(
    parts: tuple[str, ...], after: int, zone: ZoneInfo
) -> None:
    slot = Rules(zone, " ".join(parts)).next(after)
    assert slot is not None
    assert slot > after
    assert slot % MINUTE == 0
    wall = moment(slot).astimezone(zone)
    if says(parts, wall.replace(tzinfo=None)):
        return
    # Only a fixed time may come at another one: at the first minute after a gap that the time fell into.
    assert not parts[0].startswith("*")
    assert not parts[1].startswith("*")
    before = moment(slot - MINUTE).astimezone(zone)
    gap = wall.replace(tzinfo=None) - before.replace(tzinfo=None)
    assert gap > timedelta(minutes=1)
    skipped = (
        before.replace(tzinfo=None) + timedelta(minutes=n) for n in range(1, gap // timedelta(minutes=1))
    )
    assert any(says(parts, minute) for minute in skipped)


@settings(max_examples=50, deadline=None)
@given(fields.filter(possible), moments, zones)
def test_no_minute_that_the_cron_says_is_passed_over(
    parts: tuple[str, ...], after: int, zone: ZoneInfo
) -> None:
    slot = Rules(zone, " ".join(parts)).next(after)
    assert slot is not None
    fixed = not parts[0].startswith("*") and not parts[1].startswith("*")
    first = after // MINUTE * MINUTE + MINUTE
    for minute in range(first, min(slot, first + 3 * DAY), MINUTE):
        wall = moment(minute).astimezone(zone)
        repeated = fixed and wall.fold == 1  # a fixed time comes in the first of two equal hours only
        assert repeated or not says(parts, wall.replace(tzinfo=None)), wall


@settings(max_examples=50, deadline=None)
@given(fields.filter(possible), moments, zones, st.integers(0, 3 * DAY))
def test_the_last_slot_is_the_one_that_walking_ends_at(
    parts: tuple[str, ...], after: int, zone: ZoneInfo, span: int
) -> None:
    rules = Rules(zone, " ".join(parts))
    first = rules.next(after)
    assert first is not None
    walked, now = first, first + span
    while (later := rules.next(walked)) is not None and later <= now:
        walked = later
        if walked - first > 2 * DAY and parts[0] == "*":
            break
    else:
        assert rules.last(first, now) == walked


# --- what can't be a schedule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("60 2 * * *", "the minute can't be '60'; it may be 0-59"),
        ("0 24 * * *", "the hour can't be '24'; it may be 0-23"),
        ("0 2 0 * *", "the day-of-month can't be '0'"),
        ("0 2 * 13 *", "the month can't be '13'; it may be 1-12"),
        ("0 2 * * MOO", "the day-of-week can't be 'MOO'"),
        ("0 2 30 2 *", "the day-of-month can't be '30'"),
        ("*/0 2 * * *", "the minute can't be '*/0'"),
        ("5-1 2 * * *", "the minute can't be '5-1'"),
        ("9" * 5000 + " 2 * * *", "can't be read"),
        ("0 2 * *", "has 4 fields, not five: minute hour day-of-month month day-of-week"),
        ("0 0 2 * * *", "has 6 fields"),
        ("", "has 0 fields"),
        ("@dialy", "did you mean '@daily'"),
        ("@reboot", "there are @hourly"),
    ],
)
def test_a_cron_that_can_not_be_is_refused_with_the_field_that_is_wrong(cron: str, says: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        expression(cron)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_time_that_never_comes_is_refused() -> None:
    with pytest.raises(InputInvalid, match="never comes"):
        expression("0 0 */30 2 MON#5")  # a fifth Monday on the first of February


def test_words_and_spaces_stand_for_five_fields() -> None:
    assert expression("@daily") == "0 0 * * *"
    assert expression(" @Hourly ") == "0 * * * *"
    assert expression("  0   2 * *\tMON ") == "0 2 * * MON"


def test_a_rule_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputInvalid, match="missed can't be 'onec'; did you mean 'once'"):
        Rules(UTC, "0 2 * * *", missed="onec")
    with pytest.raises(InputInvalid, match="it may be allow, skip, wait, cancel"):
        Rules(UTC, "0 2 * * *", overlap="x")


# --- what becomes of a slot ------------------------------------------------------------------------------------------

S = at("2026-11-26T02:00")
DAILY = "0 2 * * *"


def open_(since: int) -> Before:
    return Before("b", since, None)


def ended(since: int, end: int) -> Before:
    return Before("b", since, end)


def test_a_slot_that_is_reached_in_time_is_fired_whatever_the_rules() -> None:
    for missed in ("skip", "once", "all"):
        for overlap in ("allow", "skip", "wait", "cancel"):
            rules = Rules(UTC, DAILY, missed=missed, overlap=overlap)
            for before in (None, ended(S - DAY, S - 1), ended(S - DAY, S - HOUR)):
                for late in (0, 1, TOLERANCE):
                    assert decide(rules, S, S + late, before) == Fire(S)


@pytest.mark.parametrize(
    ("missed", "becomes"),
    [
        ("skip", Skip(S + 2 * DAY, "2026-11-26T02:00Z to 2026-11-28T02:00Z missed: no worker was there")),
        ("once", Fire(S + 2 * DAY)),
        ("all", Fire(S)),
    ],
)
def test_slots_that_passed_while_nobody_was_there(missed: str, becomes: object) -> None:
    rules = Rules(UTC, DAILY, missed=missed)
    assert decide(rules, S, S + 2 * DAY + HOUR, None) == becomes
    one = decide(rules, S, S + TOLERANCE + 1, None)
    assert one == (Skip(S, "2026-11-26T02:00Z missed: no worker was there") if missed == "skip" else Fire(S))


def test_a_slot_that_is_still_in_time_is_not_skipped_with_those_that_were_missed() -> None:
    now = S + 2 * DAY + TOLERANCE
    assert decide(Rules(UTC, DAILY, missed="skip"), S, now, None) == Skip(
        S + DAY, "2026-11-26T02:00Z to 2026-11-27T02:00Z missed: no worker was there"
    )
    assert decide(Rules(UTC, DAILY, missed="skip"), S + 2 * DAY, now, None) == Fire(S + 2 * DAY)


@pytest.mark.parametrize(
    ("overlap", "becomes"),
    [
        ("allow", Fire(S)),
        ("skip", Skip(S, "2026-11-26T02:00Z skipped: b is unfinished")),
        ("wait", Wait("2026-11-26T02:00Z waits for b to end")),
        ("cancel", Fire(S, cancel=True)),
    ],
)
def test_a_slot_whose_predecessor_is_unfinished(overlap: str, becomes: object) -> None:
    assert decide(Rules(UTC, DAILY, overlap=overlap), S, S, open_(S - DAY)) == becomes


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_slots_that_came_while_one_was_waited_for_become_one_and_none_of_them_was_missed(missed: str) -> None:
    rules = Rules(UTC, "*/10 * * * *", missed=missed, overlap="wait")
    end = S + 35 * MINUTE
    assert decide(rules, S, end + 5_000, ended(S - MINUTE, end)) == Fire(S + 30 * MINUTE)
    # nobody was there for an hour after the end
    late = decide(rules, S, end + HOUR, ended(S - MINUTE, end))
    expected = {
        "skip": Skip(S + 90 * MINUTE, "2026-11-26T02:00Z to 2026-11-26T03:30Z missed: no worker was there"),
        "once": Fire(S + 90 * MINUTE),
        "all": Fire(S + 30 * MINUTE),
    }
    assert late == expected[missed]


def test_all_that_was_missed_is_run_one_after_the_other_when_each_waits_for_the_one_before() -> None:
    rules = Rules(UTC, DAILY, missed="all", overlap="wait")
    back = S + 3 * DAY + HOUR
    assert decide(rules, S, back, None) == Fire(S)
    assert isinstance(decide(rules, S + DAY, back + 1, open_(back)), Wait)
    assert decide(rules, S + DAY, back + HOUR, ended(back, back + HOUR)) == Fire(S + DAY)


def test_a_year_of_missed_minutes_is_decided_in_no_time() -> None:
    rules = Rules(UTC, "* * * * *")
    assert decide(rules, S, S + 365 * DAY, None) == Fire(S + 365 * DAY)
