"""The lines of the explain page: each takes one thing of the report and gives its row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from turnout.cli.output import lasted, value, when, words
from turnout.core.attempts import Attempt
from turnout.ports.clock import at
from turnout.service.effects import (
    Call,
    CompensationReport,
    Consent,
    FindingReport,
    ReviewReport,
    VerdictReport,
    Wait,
)
from turnout.service.report import Changes, DecisionReport

GOOD, BAD, CALM = "green", "bold red", "dim"
_HOW = {
    "call": "says the call",
    "transaction": "says the store's transaction",
    "reconcile": "says the tool's reconcile",
    "resend": "sent again with its key",
}
Row = tuple[str, str, Text]
"""The entry's number, the step (or what it was instead), and what happened."""

OUTCOMES = {
    "landed": "landed", "did_not_happen": "did not happen", "unknown": "OUTCOME UNKNOWN", "answered": "answered",
    "failed": "failed", "refused": "refused", "compensated": "undone",
}  # fmt: skip


def change_row(found: Changes, cut: int) -> Row:
    """What one entry did to the state."""
    lines = []
    for change in found.changes:
        if change.how == "append":
            lines.append(f"{change.field} + {value(change.wrote, cut)}  (had {change.items})")
        elif change.how == "merge":
            lines.append(f"{change.field} | {value(change.wrote, cut)}")
        elif change.how == "drop":
            lines.append(f"{change.field} dropped, was {value(change.before, cut)}")
        elif found.what == "input" and change.before is None:
            lines.append(f"{change.field} = {value(change.after, cut)}")
        else:
            half = cut // 2
            if change.before == change.after:
                lines.append(f"{change.field} {value(change.after, half)}, as before")
                continue
            lines.append(f"{change.field} {value(change.before, half)} -> {value(change.after, half)}")
    who = found.step or found.what
    return (
        f"#{found.seq}",
        f"{who} [{found.branch}]" if found.branch and not found.step else who,
        Text("\n".join(lines)),
    )


def call_row(call: Call, cut: int) -> Row:
    """A call: what was asked, what came back, and what is known of it."""
    args = _arguments(call.args, cut)
    text = Text.assemble(
        ("WRITE " if call.write else "", "bold"), f"{call.kind if call.kind != 'tool' else ''} ".lstrip()
    )
    text.append(f"{call.name}({args})" if call.name or args else "")
    if call.error is not None and call.outcome != "landed":
        text.append(f"  {call.error.type}: {words(call.error.message)}", BAD)
    elif call.outcome in ("answered", "landed"):
        text.append(f"\n-> {_answer(call, cut)}")
    facts = (
        [OUTCOMES[call.outcome]]
        if call.write
        else ([call.outcome] if call.outcome in ("failed", "refused") else [])
    )
    facts += (
        [f"{call.input_tokens} + {call.output_tokens} tokens"]
        if call.input_tokens or call.output_tokens
        else []
    )
    facts += [f"cost {cost(call.cost_micros)}"] if call.cost_micros else []
    facts += [lasted(call.ms)] if call.ms else []
    facts += (
        [f"sent {len(call.sent)} times (entries {', '.join(map(str, call.sent))})"]
        if len(call.sent) > 1
        else []
    )
    facts += [f"key {call.idempotency_key}"] if call.idempotency_key else []
    facts += ["no answer yet, or cut off"] if call.outcome == "unanswered" else []
    text.append(f"\n{', '.join(facts)}" if facts else "", BAD if call.outcome == "unknown" else CALM)
    if len(call.attempts) > 1 or any(attempt.error for attempt in call.attempts):
        for attempt in call.attempts:
            text.append(f"\n{_attempt(attempt)}", BAD if attempt.error else CALM)
    for said in call.verdicts:
        text.append(f"\n#{said.seq} {_verdict(said)}", BAD if said.errors else CALM)
    for consent in call.consents:
        text.append(f"\n#{consent.seq} {_consent(consent)}", CALM)
    plain = call.outcome == "landed" and [found.how for found in call.settled] == ["call"]
    for found in () if plain else call.settled:
        who = f"{words(found.by)} said so" if found.by else _HOW.get(found.how, found.how)
        text.append(f"\n#{found.seq} {OUTCOMES[found.outcome]}, {who}", CALM)
    return f"#{call.seq}", call.step, text


def _verdict(found: VerdictReport) -> str:
    """What policy said, by which rules."""
    rules = ", ".join(map(words, found.policies)) or "no rule"
    said = {"allow": "policy allows it", "review": "policy wants a person's yes", "deny": "policy denies it"}
    more = "".join(f"; {words(part)}" for part in (found.reason, *found.errors) if part)
    return f"{said[found.decision]}: {rules} (set {found.digest}){more}"


def _consent(found: Consent) -> str:
    """Which person said what."""
    word = {"approve": "approved", "edit": "edited and approved", "reject": "rejected"}[found.decision]
    who = f" by {' and '.join(map(words, found.by))}" if found.by else ""
    comment = f": {words(found.comment)}" if found.comment else ""
    return f"{word}{who}{comment}" + (f"; lapsed: {words(found.lapsed)}" if found.lapsed else "")


def _attempt(found: Attempt) -> str:
    """One attempt of a model call: who was asked and why, and what came of it."""
    said = f"{found.error}: {words(found.message)}" if found.error else f"answered ({found.finish})"
    spent = f", cost {cost(found.cost_micros)}" if found.cost_micros else ""
    return f"{words(found.deployment)} ({found.why}), {lasted(found.ms)}: {said}{spent}"


def _answer(call: Call, cut: int) -> str:
    """What came back. Of a model's reply only what it said or wants called: the numbers are told beside it."""
    if call.kind == "now":
        return when(at(call.result))
    if call.kind == "model" and isinstance(call.result, dict):
        said = [call.result[name] for name in ("output", "text", "tool_calls") if call.result.get(name)]
        return ", ".join(value(part, cut) for part in said) or '""'
    return value(call.result, cut)


def _arguments(args: Any, cut: int) -> str:
    if not isinstance(args, dict):
        return value(args, cut) if args is not None else ""
    whole = ", ".join(f"{words(name)}={value(found)}" for name, found in args.items())
    return whole if not cut or len(whole) <= cut else f"{whole[: cut - 12]}... ({len(whole)})"


def compensation_row(found: CompensationReport) -> Row:
    """A write that was undone, or was to be."""
    said = {
        "compensated": "undone",
        "left": "left as it is",
        "did_not_happen": "there was nothing to undo",
        "open": "under way",
    }
    text = Text.assemble((found.write, "bold"), f" of {found.of}, by {found.tool}: ")
    text.append(said[found.outcome], GOOD if found.outcome == "compensated" else "yellow")
    text.append(f"\n{words(found.why)}", CALM)
    return f"#{found.seq}", found.step, text


def finding_row(found: FindingReport) -> Row:
    """What a guardrail found, where, and what came of it."""
    done = {"block": "blocked", "redact": "cut out", "review": "a person was asked", "flag": "flagged"}[
        found.action
    ]
    what = ", ".join(f"{count} {label}" for label, count in found.labels.items())
    where = f"the {'request to' if found.where == 'input' else 'answer of'} {found.kind} {found.name}"
    text = Text.assemble((found.guard, "bold"), f"  {what} in {where}: ")
    text.append(done, BAD if found.action == "block" else "yellow")
    places = [f"{path or '/'} {start}+{length}" for path, start, length in found.spans if length]
    text.append(f"\n{', '.join(places)}" if places else "", CALM)
    return f"#{found.seq}", found.step, text


def wait_text(wait: Wait, cut: int) -> Text:
    """A timer, a signal or a child, and how the wait ended."""
    until = {"timer": when(wait.due_at), "signal": words(wait.name), "child": f"{wait.child} ({wait.name})"}[
        wait.kind
    ]
    if wait.ended_seq is None:
        return Text.assemble(f"{wait.kind} {until}  ", ("still waiting", "yellow"))
    if wait.error is not None:
        return Text.assemble(
            f"{wait.kind} {until}  ", (f"{wait.error.type}: {words(wait.error.message)}", BAD)
        )
    got = f"  -> {value(wait.result, cut)}" if wait.kind != "timer" else ""
    return Text(f"{wait.kind} {until}  ended #{wait.ended_seq} after {between(wait.at, wait.ended_at)}{got}")


def decision_row(found: DecisionReport, cut: int) -> Row:
    """A decision: where it went, the rule, what was read, what else there was."""
    text = Text.assemble("-> ", (found.target, "bold"), f"  {words(found.rule)}")
    if found.why and found.why != found.rule:
        text.append(f": {words(found.why)}")
    if found.reads:
        reads = ", ".join(f"{words(name)} = {value(read, cut // 2)}" for name, read in found.reads.items())
        text.append(f"\nread {reads}")
    labelled(text, found.taint)
    if found.alternatives:
        others = ", ".join(f"{words(target)} ({words(label)})" for label, target in found.alternatives)
        text.append(f"\nnot taken: {others}", CALM)
    return f"#{found.seq}", found.after or found.rule, text


def labelled(text: Text, labels: Sequence[str]) -> Text:
    """The text, with what it may be derived from that isn't trusted."""
    return text.append(f"  from {', '.join(map(words, labels))}", "yellow") if labels else text


def review_row(review: ReviewReport, cut: int) -> Row:
    """A review: who was asked what, and who said what."""
    who = " or ".join(review.roles) or "anybody"
    colour = {"open": "yellow", "reject": "red", "withdrawn": CALM}.get(review.status, GOOD)
    text = Text.assemble(
        (review.status, colour), f"  {words(review.question)}  asked {who}, {when(review.at)}"
    )
    if review.quorum > 1:
        text.append(f", {review.quorum} people must agree")
    if review.due_at is not None:
        text.append(f", due {when(review.due_at)} (then {review.on_due})")
    text.append(f"\nshown {value(review.payload, cut)}")
    text.append(f"\n{review.id}, digest {review.shown}", CALM)
    for said in review.opinions:
        roles = f" as {', '.join(said.roles)}" if said.roles else ""
        text.append(f"\n#{said.seq} {said.decision} by {words(said.by)}{roles}, {when(said.at)}")
        text.append(f": {words(said.comment)}" if said.comment else "")
        if said.decision == "edit":
            text.append(f"\nto {value(said.payload, cut)}")
    for lapse in review.lapses:
        to = f" to {', '.join(lapse.roles)}" if lapse.roles else ""
        text.append(f"\n#{lapse.seq} nobody decided in time: {lapse.action}{to}, {when(lapse.at)}")
    return f"#{review.seq}", review.step, text


def cost(micros: int) -> str:
    """Millionths of a currency unit as units."""
    return f"{micros / 1_000_000:.6f}".rstrip("0").rstrip(".")


def between(start: datetime | None, end: datetime | None) -> str:
    """How long something took."""
    return lasted(int((end - start).total_seconds() * 1000)) if start and end else "-"
