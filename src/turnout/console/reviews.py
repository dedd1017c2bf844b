"""The pages of reviews: the inbox, one review, and decisions on one or on many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from turnout.console import forms
from turnout.console.frame import MANY, STATUSES, Frame, Note, Visit, address, told
from turnout.console.text import cut, part
from turnout.core import reviews as judging
from turnout.core.reviews import Judgement
from turnout.errors import InputInvalid, ReviewClosed, ReviewStale, TurnoutError
from turnout.service.outcome import Review, closed, review_in
from turnout.service.pages import inbox, schemas
from turnout.service.threads import thread_row

SHOWN = 200
"""So many reviews are in the inbox at once: the most urgent ones."""
AT_ONCE = 100
"""So many are decided together at most."""
DONE = {"approve": "approved", "reject": "rejected", "edit": "approved with changes", "respond": "answered"}
STATES = ("open", "decided")


def routes(frame: Frame) -> list[Route]:
    """The pages' addresses, and what can be done from them."""
    frame.pages.globals["done"] = DONE
    return [
        Route("/reviews", frame.route("view", reviews), methods=["GET"]),
        Route("/reviews", frame.route("decide", decide_many), methods=["POST"]),
        Route("/reviews/{review}", frame.route("view", review), methods=["GET"]),
        Route("/reviews/{review}", frame.route("decide", decide), methods=["POST"]),
    ]


async def reviews(frame: Frame, visit: Visit) -> Response:
    """The inbox. `role` and `status` in the address choose."""
    state = "decided" if visit.asked("status") == "decided" else "open"
    store = visit.app.store
    decided = state == "decided"
    rows = await (store.closed_reviews(SHOWN + 1) if decided else store.reviews(status="open", limit=MANY))
    found = [review_in(row) for row in rows]
    most = found[:SHOWN] if decided else inbox.most_urgent(found, visit.now, SHOWN)
    graphs = {} if decided else await _graphs(visit, most)
    box = inbox.inbox(most, visit.now, visit.caller.review_roles, graphs)
    role, mine = visit.asked("role"), visit.asked("mine") == "1"
    shown = sorted(box.items, key=lambda item: found.index(item.review)) if decided else box.items
    items = [item for item in shown if (not role or role in item.review.roles) and (item.mine or not mine)]
    choosing = not decided and visit.may("decide")
    together = choosing and any(item.mine and item.kind in box.kinds for item in items)
    return await frame.show(
        visit, "reviews.html", items=items, choosing=choosing, together=together, box=box, role=role, mine=mine, state=state, more=len(found) > SHOWN,
        most=SHOWN, urgencies=inbox.URGENCIES, states=[(s, address("/reviews", {"status": s, "role": role})) for s in STATES],
    )  # fmt: skip


async def _graphs(visit: Visit, found: Sequence[Review]) -> dict[str, str]:
    """The graphs of the reviews' threads."""
    names = {one.thread for one in found}
    rows = await asyncio.gather(*(visit.app.store.thread(name) for name in names))
    return {row.thread: row.graph for row in rows if row is not None}


async def review(frame: Frame, visit: Visit) -> Response:
    """One review."""
    return await _page(frame, visit, await visit.app.review(visit.part("review")))


async def _page(
    frame: Frame,
    visit: Visit,
    found: Review,
    status: int = 200,
    *,
    error: str = "",
    fields: Any = None,
    late: bool = False,
    stale: bool = False,
) -> Response:
    row, entries = await thread_row(visit.app.store, found.thread), await visit.app.entries(found.thread)
    row = replace(row, head=len(entries))  # it may have grown between the two
    page = inbox.review_page(found, row, entries, await visit.app.store.reviews(thread=found.thread))
    roles = visit.caller.review_roles
    mine = roles is None or not found.roles or bool(set(roles) & set(found.roles))
    return await frame.show(
        visit, "review.html", status, page=page, review=found, error=error, late=late, stale=stale, mine=mine,
        fields=fields if fields is not None else forms.fields(_schema(visit, found), _value(found)),
        urgency=inbox.urgency(found, visit.now), comment=visit.form("comment"), answer=visit.form("answer"),
        outcome=found.purpose == "outcome",
    )  # fmt: skip


def _schema(visit: Visit, found: Review) -> dict[str, Any]:
    """The schema of what the form is about: an edit of the payload, or the result of a write."""
    return (
        schemas.of_result(found, visit.app.graphs)
        if found.purpose == "outcome"
        else schemas.of_edit(found, visit.app.graphs)
    )


def _value(found: Review) -> Any:
    """What the form says when nobody touches it: the payload, or the part of it that may be changed."""
    if found.purpose == "budget":
        return {"top_up": found.payload["top_up"]}
    return None if found.purpose == "outcome" else found.payload


async def decide(frame: Frame, visit: Visit) -> Response:
    """Record a decision. When somebody else was first the page shows what they decided, and when something else is asked
    by now it shows that."""
    found = await visit.app.review(visit.part("review"))
    fields, value = forms.read(
        forms.fields(_schema(visit, found), _value(found)),
        {key: text for key, text in visit.given.items() if isinstance(text, str)},
    )
    try:
        _still_asked(visit, found)
        judgement = replace(_judgement(visit, found, fields, value), via=visit.caller.how)
        after = await visit.app.resolve(found.id, judgement)
    except ReviewClosed as error:
        return await _page(frame, visit, await visit.app.review(found.id), 409, error=str(error), late=True)
    except ReviewStale:
        return await _page(frame, visit, await visit.app.review(found.id), 409, stale=True)
    except TurnoutError as error:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        return await _page(frame, visit, found, status, error=told(error), fields=fields)
    return frame.back(
        visit,
        "/reviews" if visit.form("then") == "inbox" else f"/reviews/{part(found.id)}",
        _told(found, after),
    )


def _still_asked(visit: Visit, found: Review) -> None:
    """Raises `ReviewClosed` or `ReviewStale`: what the form says is about something else then."""
    if found.status != "open":
        raise closed(found)
    if visit.form("shown") not in ("", found.shown):
        raise ReviewStale(f"review {found.id} asks for something else by now")


def _told(found: Review, after: Review) -> Note:
    if after.status == "open":
        missing = after.quorum - len(after.opinions)
        return Note(
            f"Your word is on record. {missing} more must agree: {found.question}",
            link=f"/reviews/{part(found.id)}",
            label="The review",
        )
    said = DONE.get(after.status, after.status)
    return Note(
        f"{said.capitalize()}: {found.question}",
        link=f"/threads/{part(found.thread)}",
        label=f"See {found.thread} go on",
    )


def _judgement(visit: Visit, found: Review, fields: tuple[forms.Field, ...], value: Any) -> Judgement:
    """What the form says, as a decision about what was shown. Raises `InputInvalid`."""
    decision, comment = visit.form("decision"), visit.form("comment").strip()
    given: dict[str, Any] = {
        "by": visit.by(),
        "roles": _roles(visit, found),
        "shown": visit.form("shown") or None,
    }
    shown = _value(found)
    changed = value != shown or bool(forms.problems(fields))
    if decision in ("edit", "landed") and forms.problems(fields):
        raise InputInvalid("; ".join(forms.problems(fields)))
    if decision == "edit":
        if not changed:
            raise InputInvalid("nothing is changed: approve it as it is, or change a field first")
        return judging.edit(_change(shown, value), comment=comment, **given)
    if decision == "approve" and "edit" in found.allowed and changed:
        raise InputInvalid("you changed a field: use Approve with changes, or undo it")
    if decision == "respond":
        answer = visit.form("answer").strip()
        if not answer:
            raise InputInvalid("an answer needs words: write it first")
        return judging.respond(answer, **given)
    if decision == "landed":
        return judging.landed(value, comment=comment, **given)
    makers = {"approve": judging.approve, "reject": judging.reject, "did_not_happen": judging.did_not_happen}
    if decision not in makers:
        raise InputInvalid(f"{decision!r} is no decision; choose one of the buttons")
    return makers[decision](comment=comment, **given)


def _change(shown: Any, value: Any) -> Any:
    """What an edit changes: of an object the fields that have another value. One that was written as JSON as a whole may
    be anything: what isn't in the payload is left in, for whoever judges to refuse it. Raises `InputInvalid`."""
    if not isinstance(shown, dict) or not isinstance(value, dict):
        return value
    gone = [key for key in shown if key not in value]
    if gone:
        raise InputInvalid(f"an edit changes fields and takes none away: {', '.join(gone)} must stay")
    return {key: new for key, new in value.items() if key not in shown or new != shown[key]}


def _roles(visit: Visit, found: Review) -> tuple[str, ...]:
    """In which of their roles somebody decides: those that the review is for. Where nobody signs in they may be any."""
    mine = visit.caller.review_roles
    return found.roles if mine is None else mine


async def decide_many(frame: Frame, visit: Visit) -> Response:
    """The same decision on reviews of one kind. Each is decided by itself, on what was shown; what can't be is told."""
    chosen = [str(value) for value in visit.given.getlist("review")][:AT_ONCE]
    decision, comment = visit.form("decision"), visit.form("comment").strip()
    back = address("/reviews", {"role": visit.form("role")})
    if decision not in inbox.TOGETHER or not chosen:
        return frame.back(visit, back, Note("Choose reviews, then approve or reject them.", "bad"))
    by, done, waiting, refused = visit.by(), 0, 0, []
    kind = ""  # that of the first
    for pair in chosen:
        name, _, shown = pair.partition(" ")
        which = name
        try:
            found = await visit.app.review(name)
            which = f"{cut(found.thread, 60)} ({name})"
            graphs = await _graphs(visit, [found])
            its = inbox.kind_of(found, graphs.get(found.thread, ""))
            kind = kind or its
            if its != kind:
                raise InputInvalid("it is of another kind than the others")
            given: dict[str, Any] = {
                "by": by,
                "roles": _roles(visit, found),
                "comment": comment,
                "shown": shown,
            }
            make = judging.approve if decision == "approve" else judging.reject
            after = await visit.app.resolve(name, replace(make(**given), via=visit.caller.how))
            done, waiting = done + (after.status != "open"), waiting + (after.status == "open")
        except TurnoutError as error:
            refused.append(f"{which}: {told(error)}")
    said = [f"{done} {DONE[decision]}"] if done or not waiting else []
    said += [f"{waiting} on record, waiting for others to agree"] if waiting else []
    said += [f"{len(refused)} not decided"] if refused else []
    return frame.back(
        visit, back, Note(f"{'; '.join(said)}.", "bad" if refused else "good", more=tuple(refused))
    )
