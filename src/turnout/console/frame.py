"""What all pages share: who asks, what protects them, and how a page is put together."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from turnout import errors as x
from turnout.console import text
from turnout.core.aside import away
from turnout.ports.clock import at as moment
from turnout.service.access import sessions
from turnout.service.access.caller import Caller, Right
from turnout.service.access.door import Door, admit
from turnout.service.access.shown import Shown, is_proxied
from turnout.service.app import App
from turnout.service.serving import Serve

HEADERS = {
    # Nothing but our own files; no script or style in the page itself, nowhere to be framed, nowhere else to send a form.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # `no-referrer` would take the origin away from our own forms, too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
log = logging.getLogger("turnout.console")
SLASH = "\x1f"
"""What a slash inside a name is on its way to its route: no name can have this character."""
SAID, NAME, THEME = "turnout_said", "turnout_name", "turnout_theme"
"""Cookies: what the page before has to say, under which name somebody decides where nobody signs in, and the theme."""
THEMES = ("light", "dark")
STATUSES: tuple[tuple[type[x.TurnoutError], int], ...] = (
    (x.UnknownGraph, 404), (x.UnknownThread, 404), (x.UnknownRun, 404), (x.UnknownReview, 404), (x.UnknownEntry, 404),
    (x.UnknownNotice, 404),
    (x.InputInvalid, 422), (x.DecisionNotAllowed, 403), (x.Conflict, 409), (x.SignInNeeded, 401), (x.AccessRefused, 403),
    (x.StoreError, 503), (x.UsageError, 400),
)  # fmt: skip
"""The status of a page that tells of an error; of any other it is 500."""
NOTED = 2_800
"""Bytes of a note, which are a third more in its cookie: browsers keep 4096."""
MANY = 1000
"""Open reviews are counted no further than this."""


@dataclass(frozen=True)
class Note:
    """What was done, told on the next page. `tone`: good, bad or plain."""

    text: str
    tone: str = "good"
    link: str = ""
    label: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visit:
    """One request: who asks, and the app as they have it. `csrf` goes into every form; `given` is the form that came."""

    request: Request
    app: App
    caller: Caller
    csrf: str
    open: bool
    given: FormData

    @property
    def now(self) -> datetime:
        """What time it is."""
        return moment(self.app.clock.now())

    def may(self, right: Right) -> bool:
        """Whether the caller may do that."""
        return right in self.caller.rights

    def asked(self, name: str, default: str = "") -> str:
        """What the address says."""
        return self.request.query_params.get(name, default)

    def number(self, name: str) -> int | None:
        """A whole number in the address, 1 or more; None when there is none."""
        return whole(self.asked(name))

    def part(self, name: str) -> str:
        """A name in the path."""
        return str(self.request.path_params[name]).replace(SLASH, "/")

    def form(self, name: str) -> str:
        """What the form says."""
        found = self.given.get(name, "")
        return found if isinstance(found, str) else ""

    def by(self) -> str:
        """Under which name something is done: the caller's own, unless nobody had to sign in. Raises `InputInvalid`."""
        if self.caller.named:
            return self.caller.who
        said = self.form("by").strip()
        if not said or len(said) > 100 or not said.isprintable():
            raise x.InputInvalid("say who you are: it goes on record with what you do")
        return said

    @property
    def name(self) -> str:
        """The name that was given last, where nobody has to sign in."""
        said = unquote(self.request.cookies.get(NAME, ""))
        return said if said.isprintable() and len(said) <= 100 else ""


Handler = Callable[["Frame", Visit], Awaitable[Response]]


class Frame:
    """The pages' common part, for one app."""

    def __init__(self, app: App, door: Door, serve: Serve, rules: Path | None = None) -> None:
        self.app = app
        self.door = door
        self.serve = serve
        self.rules = rules
        self._mark = secrets.token_urlsafe(32)  # in forms, where nobody has a session
        self.pages = Environment(
            loader=PackageLoader("turnout.console"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, finalize=text.seen,
        )  # fmt: skip
        self.pages.tests["unseen"] = text.unseen
        for name in (
            "when",
            "clock",
            "iso",
            "ago",
            "span",
            "money",
            "dollars",
            "count",
            "exact",
            "plain",
            "gist",
            "pretty",
            "cut",
            "part",
            "words",
        ):
            self.pages.filters[name] = getattr(text, name)
        self.pages.tests["moved"] = lambda reason: bool(away(reason))

    def route(self, right: Right, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a page that needs `right`."""

        async def endpoint(request: Request) -> Response:
            visit = None
            try:
                visit = await self._visit(request)
                visit = _narrowed(visit, right)
                return self._sealed(await handler(self, visit))
            except x.SignInNeeded:
                if request.method == "GET":
                    return self._sealed(
                        RedirectResponse(f"/sign-in?next={quote(here(request), safe='')}", 303)
                    )
                return self._sealed(
                    self.problem(request, x.SignInNeeded("your session is over; sign in again"), visit)
                )
            except x.TurnoutError as error:
                return self._sealed(self.problem(request, error, visit))

        return endpoint

    async def _visit(self, request: Request) -> Visit:
        """Raises `SignInNeeded`, or `RightMissing` when the request comes from somebody else's page."""
        free, changes = await self.door.open_to_all(), request.method == "POST"
        if changes:
            check_origin(request)
        given = await request.form() if changes else FormData()
        said = given.get("csrf", "")
        cookie = "" if free else request.cookies.get(sessions.COOKIE, "")
        csrf = sessions.csrf_of(cookie) if cookie else self._mark
        shown = Shown(
            cookie=cookie, csrf=said if isinstance(said, str) else "", changes=changes,
            host=request.headers.get("host", ""), origin=request.headers.get("origin", "") if changes else "",
            site=request.headers.get("sec-fetch-site", "") if changes else "",  # a link elsewhere may lead to a page
            proxied=is_proxied(request.headers),
        )  # fmt: skip
        caller = await self.door.caller(shown)
        request.state.came_in = shown.secret  # for the count of what they ask
        if changes and not (isinstance(said, str) and secrets.compare_digest(said.encode(), csrf.encode())):
            raise x.RightMissing("this form doesn't come from a page of this session; load the page again")
        return Visit(request, self.app, caller, csrf, free, given)

    async def show(self, visit: Visit, template: str, status: int = 200, **more: Any) -> HTMLResponse:
        """A page, with the frame around it."""
        waiting = await visit.app.store.open_reviews(MANY)
        return self._page(visit.request, template, status, visit, waiting=waiting, **more)

    def problem(self, request: Request, error: x.TurnoutError, visit: Visit | None = None) -> HTMLResponse:
        """The page that tells of an error."""
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        return self._page(request, "problem.html", status, visit, waiting=0, error=error, told=told(error))

    def bare(self, request: Request, template: str, status: int = 200, **more: Any) -> HTMLResponse:
        """A page for somebody who has not signed in."""
        return self._page(request, template, status, None, waiting=0, **more)

    def lost(self, request: Request) -> HTMLResponse:
        """The page for an address where there is none."""
        return self._page(request, "problem.html", 404, None, waiting=0, error=None)

    def _page(
        self, request: Request, template: str, status: int, visit: Visit | None, **more: Any
    ) -> HTMLResponse:
        theme = request.cookies.get(THEME, "")
        made = self.pages.get_template(template).render(
            visit=visit, caller=visit.caller if visit else None, csrf=visit.csrf if visit else "",
            open=visit.open if visit else False, path=request.url.path, back=here(request), now=moment(self.app.clock.now()), many=MANY,
            theme=theme if theme in THEMES else "", said=_note(request.cookies.get(SAID, "")), **more,
        )  # fmt: skip
        answer = HTMLResponse(made, status)
        if SAID in request.cookies:
            answer.delete_cookie(SAID, path="/")
        return answer

    def back(self, visit: Visit, to: str, note: Note | None = None) -> RedirectResponse:
        """After something was done: on to a page that is safe to load again."""
        answer = RedirectResponse(to, 303)
        if note is not None:
            self.keep(visit.request, answer, SAID, _packed(note), 60)
        if not visit.caller.named and visit.form("by").strip():
            self.keep(visit.request, answer, NAME, quote(visit.form("by").strip()[:100]), 31_536_000)
        return answer

    def keep(self, request: Request, answer: Response, name: str, value: str, seconds: int | None) -> None:
        """Set a cookie, for these pages alone."""
        secure = request.url.scheme == "https" or self.serve.url.startswith("https://")
        answer.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="strict" if name != THEME else "lax",
            secure=secure,
        )

    @staticmethod
    def _sealed(answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    sealed = _sealed


def _narrowed(visit: Visit, right: Right) -> Visit:
    return Visit(
        visit.request,
        admit(visit.app, visit.caller, right),
        visit.caller,
        visit.csrf,
        visit.open,
        visit.given,
    )


def told(error: x.TurnoutError) -> str:
    """What a page says of an error. What it leaves out is for the log."""
    if error.told != str(error) and not error.store:
        log.warning("a page, or what was asked from it, failed: %s", error)
    return error.told


def check_origin(request: Request) -> None:
    """What changes something comes from a page of ours. Raises `RightMissing`."""
    host = request.headers.get("host", "")
    origin, site = request.headers.get("origin", ""), request.headers.get("sec-fetch-site", "same-origin")
    if site != "same-origin" or (origin and origin.partition("://")[2] != host):
        raise x.RightMissing("this form was sent by another site's page")


def whole(said: str) -> int | None:
    """The whole number that a text says, 1 or more and no larger than what a store counts; None when it says none."""
    if not (said.isascii() and said.isdigit() and len(said) < 19):
        return None
    return int(said) or None


def here(request: Request) -> str:
    """The address of a request, as it was asked for: what is encoded in it stays so, since a name may hold any character."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    query: bytes = request.scope["query_string"]
    return inside((raw.partition(b"?")[0] + (b"?" + query if query else b"")).decode("ascii", "replace"))


def inside(address: str) -> str:
    """An address of these pages, to go on to; "/" instead of any other."""
    fine = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if fine and "\\" not in address else "/"


def _packed(note: Note) -> str:
    """A note as a cookie holds it, cut to what fits: browsers drop a cookie that is longer, and then nothing is told."""
    data = {
        "text": text.cut(note.text, 400),
        "tone": note.tone,
        "link": note.link,
        "label": note.label,
        "more": [],
    }
    if len(_bytes(data)) > NOTED:
        data |= {"link": "", "label": ""}
    told: list[str] = []
    lines = [text.cut(line, 160) for line in note.more]
    for n, line in enumerate(lines, 1):
        left = [f"and {len(lines) - n} more"] if n < len(lines) else []
        if len(_bytes({**data, "more": [*told, line, *left]})) > NOTED:
            told.append(f"and {len(lines) - n + 1} more")
            break
        told.append(line)
    return base64.urlsafe_b64encode(_bytes({**data, "more": told})).decode()


def _bytes(data: Mapping[str, object]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")


def _note(cookie: str) -> Note | None:
    if not cookie:
        return None
    try:
        data = json.loads(base64.urlsafe_b64decode(cookie))
        return Note(
            str(data["text"]), str(data["tone"]), inside(str(data["link"])) if data["link"] else "", str(data["label"]),
            tuple(str(line) for line in data["more"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


def address(path: str, query: Mapping[str, object]) -> str:
    """An address with what the query says, as far as it says anything."""
    said = "&".join(
        f"{name}={quote(str(value), safe='')}"
        for name, value in query.items()
        if value not in ("", None, False)
    )
    return f"{path}?{said}" if said else path
