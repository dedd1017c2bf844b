"""A payments desk as a graph. Try `turnout check turnout.demo.desk:desk`.

What is decided by code is a rule; what is decided by people is a review; the model only writes a summary for them.
The bank and the model are *simulated*: a SQLite file (`ledger`) and a script.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, RootModel, field_validator

from turnout import (
    END,
    Context,
    Graph,
    ModelReply,
    ModelRequest,
    above,
    at_most,
    field,
    matrix,
    parallel,
    row,
    rule,
)
from turnout.demo import ledger as bank
from turnout.demo.tools import (
    find_beneficiary,
    find_earlier_request,
    find_sanction,
    read_balance,
    send_payment,
)
from turnout.errors import ToolFailed
from turnout.testing import ScriptedModel

ACCOUNT_CURRENCY = "EUR"
AMOUNT = r"^(\d+|\d{1,3}(,\d{3})+)(\.\d{2})?$"
SEPA = ["AT", "BE", "CH", "CY", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IT", "NL", "PL", "PT", "SE"]
LARGE, VERY_LARGE = 1_000_000, 10_000_000  # cents


class Iban(RootModel[str]):
    """An IBAN whose check digits are right (ISO 13616: the number modulo 97 is 1)."""

    @field_validator("root")
    @classmethod
    def has_right_check_digits(cls, text: str) -> str:
        if int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 != 1:
            raise ValueError("the check digits are wrong")
        return text


class Payment(BaseModel):
    """One request, from the inbox to its end. Amounts are in cents; `ledger` is the simulated bank's file."""

    request: str
    ledger: str
    beneficiary: str
    iban: str
    amount: str
    currency: str
    reference: str = ""
    cents: int = 0
    country: str = ""
    payee: Literal["known", "other name", "new"] = "new"
    sanctioned: bool = False
    duplicate_of: str | None = None
    covered: bool = True
    findings: list[str] = []
    judgement: str = ""
    outcome: Literal["", "paid", "rejected"] = ""
    reason: str = ""
    receipt: str | None = None


# --- the graph ------------------------------------------------------------------------------------------------

desk = Graph(
    "payments_desk",
    state=Payment,
    tools=[find_sanction, find_beneficiary, find_earlier_request, read_balance, send_payment],
)


@desk.node(tools=[])
async def read(state: Payment, ctx: Context) -> dict[str, Any]:
    """Read what was typed. Whether it makes sense is the rules' business."""
    iban = bank.plain_iban(state.iban)
    digits = re.sub(r"[,.]", "", state.amount) if re.match(AMOUNT, state.amount) else "0"
    cents = int(digits) * (1 if "." in state.amount else 100)
    return {"iban": iban, "country": iban[:2], "cents": cents}


@desk.node(tools=[])
async def clarify(state: Payment, ctx: Context) -> dict[str, Any]:
    """Somebody says what was meant, or refuses."""
    findings = [
        (not re.match(AMOUNT, state.amount), f"the amount {state.amount!r} is not a number"),
        (
            state.currency != ACCOUNT_CURRENCY,
            f"the account is in {ACCOUNT_CURRENCY}, not in {state.currency}",
        ),
    ]
    summary = await summarise(state, ctx, "unclear request", [text for found, text in findings if found])
    shown = {
        "to": state.beneficiary,
        "typed": f"{state.amount} {state.currency}",
        "euros": None,
        "summary": summary,
    }
    decision = await ctx.review(
        f"How many euros are to be paid? {state.request}",
        payload=shown,
        allowed=["edit", "reject"],
        roles=["finance"],
    )
    update = {"judgement": decision.decision, "reason": decision.summary}
    euros = decision.payload["euros"]
    if isinstance(euros, int | float):  # else the rules after `read` will ask again
        update |= {"amount": f"{euros:.2f}", "currency": ACCOUNT_CURRENCY}
    return update


@desk.node(tools=[find_sanction])
async def check_sanctions(state: Payment, ctx: Context) -> dict[str, Any]:
    return {"sanctioned": await ctx.call(find_sanction, ledger=state.ledger, name=state.beneficiary)}


@desk.node(tools=[find_beneficiary])
async def check_payee(state: Payment, ctx: Context) -> dict[str, Any]:
    name = await ctx.call(find_beneficiary, ledger=state.ledger, iban=state.iban)
    if name is None:
        return {"payee": "new"}
    return {"payee": "known" if name == state.beneficiary else "other name"}


@desk.node(tools=[find_earlier_request])
async def check_duplicates(state: Payment, ctx: Context) -> dict[str, Any]:
    found = await ctx.call(find_earlier_request, ledger=state.ledger, request=state.request)
    return {"duplicate_of": found}


@desk.node(tools=[read_balance])
async def check_balance(state: Payment, ctx: Context) -> dict[str, Any]:
    return {"covered": await ctx.call(read_balance, ledger=state.ledger) >= state.cents}


@desk.node(tools=[])
async def weigh(state: Payment, ctx: Context) -> dict[str, Any]:
    """What a reviewer should know. The policy below decides."""
    findings = [
        (state.payee != "known", f"the beneficiary is {state.payee}"),
        (state.country not in SEPA, f"the account is in {state.country}, outside of SEPA"),
        (
            state.cents > LARGE,
            f"the amount is above {money(VERY_LARGE if state.cents > VERY_LARGE else LARGE)}",
        ),
    ]
    return {"findings": [text for found, text in findings if found]}


@desk.node(tools=[])
async def ask_one(state: Payment, ctx: Context) -> dict[str, Any]:
    return await ask(state, ctx, people=1)


@desk.node(tools=[])
async def ask_two(state: Payment, ctx: Context) -> dict[str, Any]:
    return await ask(state, ctx, people=2)


@desk.node(tools=[send_payment])
async def pay(state: Payment, ctx: Context) -> dict[str, Any]:
    try:
        receipt = await ctx.call(
            send_payment, ledger=state.ledger, request=state.request, iban=state.iban, cents=state.cents
        )
    except ToolFailed:  # a write fails for the node only if it is proven that nothing happened
        return {"outcome": "rejected", "reason": "the bank refused: the account is closed"}
    return {"outcome": "paid", "receipt": receipt}


@desk.node(tools=[])
async def refuse(state: Payment, ctx: Context) -> dict[str, Any]:
    return {"outcome": "rejected", "reason": state.reason if state.judgement == "reject" else why_not(state)}


desk.start(read)
desk.route(
    read,
    [
        rule("malformed IBAN", ~field("iban").matches(r"^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$"), to=refuse),
        rule("wrong check digits", ~field("iban").is_valid(Iban), to=refuse),
        rule("amount not a number", ~field("amount").matches(AMOUNT), to=clarify),
        rule("not in euros", field("currency") != ACCOUNT_CURRENCY, to=clarify),
        rule("nothing to pay", field("cents") <= 0, to=refuse),
    ],
    default=parallel(check_sanctions, check_payee, check_duplicates, check_balance, join=weigh),
)
desk.route(clarify, [rule("refused by a person", field("judgement") == "reject", to=refuse)], default=read)
for check in (check_sanctions, check_payee, check_duplicates, check_balance):
    desk.edge(check, weigh)
desk.route(
    weigh,
    matrix(
        {
            "sanctioned": field("sanctioned"),
            "first of its kind": field("duplicate_of").is_none(),
            "covered": field("covered"),
            "cents": field("cents"),
            "beneficiary": field("payee"),
            "country": field("country"),
        },
        [
            row("sanctioned", {"sanctioned": True}, to=refuse),
            row("asked for before", {"first of its kind": False}, to=refuse),
            row("not covered", {"covered": False}, to=refuse),
            row("very large", {"cents": above(VERY_LARGE)}, to=ask_two),
            row("large", {"cents": above(LARGE)}, to=ask_one),
            row("usual", {"cents": at_most(LARGE), "beneficiary": "known", "country": SEPA}, to=pay),
            row("small", {"cents": at_most(10_000), "beneficiary": "new", "country": SEPA}, to=pay),
        ],
        default=ask_one,
    ),
)
for asked in (ask_one, ask_two):
    desk.route(asked, [rule("refused by a person", field("judgement") == "reject", to=refuse)], default=pay)
desk.edge(pay, END)
desk.edge(refuse, END)

graphs = [desk]


# --- what the nodes share -------------------------------------------------------------------------------------


async def ask(state: Payment, ctx: Context, people: int) -> dict[str, Any]:
    """Ask one or two people of finance; whoever made the request is not among them."""
    summary = await summarise(state, ctx, "payment for review", state.findings)
    shown = {
        "to": state.beneficiary, "iban": state.iban, "amount": money(state.cents), "reference": state.reference,
        "findings": state.findings, "summary": summary,
    }  # fmt: skip
    decision = await ctx.review(
        f"Pay {money(state.cents)} to {state.beneficiary}? {state.request}",
        payload=shown, roles=["finance"], quorum=people, separate=True,
    )  # fmt: skip
    return {"judgement": decision.decision, "reason": decision.summary}


async def summarise(state: Payment, ctx: Context, subject: str, findings: list[str]) -> str:
    """One line for the reviewer, by the (simulated) model."""
    facts = f"{subject}: {state.beneficiary} ({state.country}), {state.amount} {state.currency}, {state.reference!r}"
    reply = await ctx.model("summary", messages="\n".join(["Summarise in one line.", facts, *findings]))
    return reply.text


def why_not(state: Payment) -> str:
    """Why a request was refused by rule, for whoever made it."""
    reasons = {
        f"same as {state.duplicate_of}": state.duplicate_of is not None,
        f"{state.beneficiary} is on the sanctions list": state.sanctioned,
        f"the account doesn't hold {money(state.cents)}": not state.covered,
        "the amount is nothing": state.cents <= 0,
    }
    return next((reason for reason, found in reasons.items() if found), f"{state.iban} is not an IBAN")


def money(cents: int) -> str:
    """An amount as people write it."""
    return f"{cents / 100:,.2f} {ACCOUNT_CURRENCY}"


def _line(request: ModelRequest) -> ModelReply:
    """The simulated model's line: no language model is called."""
    _, facts, *findings = request.messages[-1].text.split("\n")
    text = f"{facts[0].upper()}{facts[1:]}; {', '.join(findings) or 'nothing else stands out'}. (simulated summary)"
    return ModelReply(text=text, model="simulated")


models = {"summary": ScriptedModel(_line)}
"""What `ctx.model("summary")` reaches: a script that is played offline."""
