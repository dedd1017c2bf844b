"""The batch of payment requests that the demo works on, as it lies in `batch.json`."""

from __future__ import annotations

from importlib.resources import files

from pydantic import BaseModel


class Account(BaseModel):
    """Somebody the company pays regularly, and where."""

    name: str
    iban: str


class PaymentRequest(BaseModel):
    """A request as it came in: text, right or wrong. `amount` is what somebody typed."""

    id: str
    beneficiary: str
    iban: str
    amount: str
    currency: str
    reference: str
    requested_by: str


class Batch(BaseModel):
    """All that the demo starts from. `opening_balance` is in cents; `closed_accounts` are IBANs; `unanswered` are names
    for which the sanctions register gives no answer."""

    about: str
    opening_balance: int
    beneficiaries: list[Account]
    sanctions: list[str]
    unanswered: list[str]
    closed_accounts: list[str]
    requests: list[PaymentRequest]


def load() -> Batch:
    """The batch that comes with the package."""
    return Batch.model_validate_json(files("turnout.demo").joinpath("batch.json").read_bytes())
