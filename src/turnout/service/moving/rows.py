"""Rows of the store as lines of an export, and back. `where` is what errors call the line."""

from __future__ import annotations

from turnout.ports.rows import HeadRow, KeyRow, ReviewRow, Row, RunRow
from turnout.service.moving import lines


def run_line(row: RunRow) -> lines.Run:
    return lines.Run(
        run=row.run, graph=row.graph, status=row.status, started_at=row.started_at, ended_at=row.ended_at,
        end_seq=row.end_seq, error=row.error,
    )  # fmt: skip


def run_row(thread: str, line: lines.Run) -> RunRow:
    return RunRow(
        thread, line.run, line.graph, line.status, line.started_at, line.ended_at, line.end_seq, line.error
    )


def review_line(row: ReviewRow) -> lines.Review:
    text, base64 = lines.content(row.about)
    return lines.Review(
        review=row.review, run=row.run, status=row.status, roles=row.roles, due_at=row.due_at, asked_at=row.asked_at,
        closed_at=row.closed_at, text=text, base64=base64,
    )  # fmt: skip


def review_row(thread: str, line: lines.Review, where: str) -> ReviewRow:
    return ReviewRow(
        line.review, thread, line.run, line.status, line.roles, line.due_at, line.asked_at, line.closed_at,
        lines.stored(line, where),
    )  # fmt: skip


def key_line(row: KeyRow) -> lines.Key:
    return lines.Key(key=row.key, run=row.run, digest=row.digest)


def key_row(thread: str, line: lines.Key) -> KeyRow:
    return KeyRow(line.key, thread, line.run, line.digest)


def head_line(row: HeadRow) -> lines.Head:
    return lines.Head(seq=row.seq, digest=row.digest.hex(), at=row.at, signature=row.signature.hex())


def head_row(thread: str, line: lines.Head, where: str) -> HeadRow:
    return HeadRow(
        thread, line.seq, lines.hexed(line.digest, 32, where), line.at, lines.hexed(line.signature, 0, where)
    )


def entry_line(row: Row) -> lines.Entry:
    text, base64 = lines.content(row.stored)
    return lines.Entry(
        seq=row.seq, kind=row.kind, run=row.run, step=row.step, at=row.at, epoch=row.epoch, digest=row.digest.hex(),
        text=text, base64=base64,
    )  # fmt: skip


def entry_row(thread: str, line: lines.Entry, where: str) -> Row:
    return Row(
        thread, line.seq, line.kind, line.run, line.step, line.at, line.epoch, lines.stored(line, where),
        lines.hexed(line.digest, 32, where),
    )  # fmt: skip


def value_line(address: str, data: bytes) -> lines.Value:
    text, base64 = lines.content(data)
    return lines.Value(address=address, text=text, base64=base64)
