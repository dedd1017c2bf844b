"""What a line of an export says. A line is a JSON object; its "turnout" says which of these it is.

    export                      the first line: format, by whom, when, from what kind of store
    limit, schedule             rules of the store
    thread                      a thread, and where its journal is in this file: up to its `end`
      run, review, key, head    rows beside the journal
      value                     a stored value, once a file, after those that it names and before the entry that names it
      entry                     an entry of the thread's own, in order
      end                       the thread was written whole
    whole                       the last line: what there was, and the SHA-256 of all bytes before this line

Bytes that the store keeps (bodies of entries, values) are in `text` when they are UTF-8, as they always are unless a
codec made them, else in `base64`: either way they come back byte by byte, so that every digest can be computed again.
Digests, addresses and signatures are hex, times microseconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from turnout.errors import ExportInvalid

FORMAT = 1
"""Grows when a Turnout of before couldn't read, or would misread, what is written."""

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a store can keep."""
Micros = Int


class Line(
    msgspec.Struct,
    tag_field="turnout",
    tag=lambda name: name.lower(),
    forbid_unknown_fields=True,
    omit_defaults=True,
    frozen=True,
    kw_only=True,
):
    """One line. The tag is the class's name."""


class Export(Line, frozen=True, kw_only=True):
    """`move`: the threads were set aside in their store, to go on elsewhere. `public_key`: the one that heads are
    signed with. `threads`, `graph`, `status`: what was asked for."""

    format: Int
    export: str
    at: Micros
    by: str
    store: str
    move: bool = False
    public_key: str = ""
    threads: list[str] = []
    graph: str = ""
    status: str = ""


class Limit(Line, frozen=True, kw_only=True):
    kind: str
    name: str
    at_once: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Schedule(Line, frozen=True, kw_only=True):
    """See `ports.rows.ScheduleRow`. `moved`: it was paused in its store, to fire elsewhere."""

    name: str
    graph: str
    text: str | None = None
    base64: bytes | None = None
    cron: str
    zone: str
    at: Micros | None = None
    missed: str
    overlap: str
    paused: bool
    next_at: Micros | None = None
    created_at: Micros
    updated_at: Micros
    last_at: Micros | None = None
    last_thread: str = ""
    note: str = ""
    by: str = ""
    tenant: str = ""
    priority: Int = 0
    moved: bool = False


class Thread(Line, frozen=True, kw_only=True):
    """A thread as it was at entry `head`. `epoch` is that of the last entry; who holds the thread isn't told.

    `moved`: it was set aside in its store, to go on elsewhere. `parent` waits for it; it waits for `children`.
    """

    thread: str
    graph: str
    status: str
    run: Int
    fingerprint: str = ""
    head: Int
    digest: str
    epoch: Int = 0
    created_at: Micros
    updated_at: Micros
    wake_at: Micros | None = None
    base_thread: str | None = None
    base_seq: Int = 0
    tenant: str = ""
    priority: Int = 0
    aside: str = ""
    moved: bool = False
    parent: str = ""
    children: list[str] = []

    @property
    def ended(self) -> bool:
        """Is there nothing more to do for it?"""
        return self.status in ENDED

    @property
    def alone(self) -> bool:
        """Does it wait for no other thread, and no other for it?"""
        return not self.children and (self.ended or not self.parent)


class Run(Line, frozen=True, kw_only=True):
    run: Int
    graph: str
    status: str
    started_at: Micros
    ended_at: Micros | None = None
    end_seq: Int | None = None
    error: str = ""


class Review(Line, frozen=True, kw_only=True):
    review: str
    run: Int
    status: str
    roles: str = ""
    due_at: Micros | None = None
    asked_at: Micros
    closed_at: Micros | None = None
    text: str | None = None
    base64: bytes | None = None


class Key(Line, frozen=True, kw_only=True):
    key: str
    run: Int
    digest: str


class Head(Line, frozen=True, kw_only=True):
    seq: Int
    digest: str
    at: Micros
    signature: str


class Value(Line, frozen=True, kw_only=True):
    address: str
    text: str | None = None
    base64: bytes | None = None


class Entry(Line, frozen=True, kw_only=True):
    seq: Int
    kind: str
    run: Int
    step: str = ""
    at: Micros
    epoch: Int = 0
    digest: str
    text: str | None = None
    base64: bytes | None = None


class End(Line, frozen=True, kw_only=True):
    thread: str
    head: Int
    digest: str


class Whole(Line, frozen=True, kw_only=True):
    threads: Int
    entries: Int
    values: Int
    sha256: str


Any_ = Export | Limit | Schedule | Thread | Run | Review | Key | Head | Value | Entry | End | Whole
ENDED = ("idle", "finished", "failed", "cancelled")
_decoder = msgspec.json.Decoder(Any_)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """The line's bytes, its end included."""
    return _encoder.encode(line) + b"\n"


def decode(data: bytes, where: str) -> Any:
    """The line in `data`. Raises `ExportInvalid` naming `where`."""
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ExportInvalid(f"{where} is not a line of an export: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportInvalid(f"{where} is not JSON: {error}") from None


class _Version(msgspec.Struct):
    format: int


def version(data: bytes) -> int | None:
    """The format that a first line states, whatever else it says; None when it states none."""
    try:
        return msgspec.json.decode(data, type=_Version).format
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Content(NamedTuple):
    """The two fields that stored bytes may lie in."""

    text: str | None
    base64: bytes | None


def content(data: bytes) -> Content:
    """Stored bytes as the fields `text` and `base64` of a line."""
    try:
        return Content(data.decode("utf-8"), None)
    except UnicodeDecodeError:
        return Content(None, data)


def stored(line: Any, where: str) -> bytes:
    """The stored bytes of a line. Raises `ExportInvalid` when it has none, or two."""
    if (line.text is None) == (line.base64 is None):
        raise ExportInvalid(f"{where} must have either text or base64")
    found: bytes = line.base64 if line.text is None else line.text.encode()
    return found


def hexed(text: str, size: int, where: str) -> bytes:
    """The bytes of hex. Raises `ExportInvalid` when they aren't `size` bytes (0: any number)."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != (size or len(found)) or found.hex() != text:
        raise ExportInvalid(f"{where} has {text[:80]!r} where {size or 'some'} bytes in hex should be")
    return found
