"""What the desk can do: four questions, and one write. The bank behind them is simulated (`ledger`)."""

from __future__ import annotations

import asyncio
from typing import Any

from turnout import DID_NOT_HAPPEN, Landed, tool
from turnout.demo import ledger as bank


@tool(effect="read")
async def find_sanction(ledger: str, name: str) -> bool:
    """Is this name on the (simulated) sanctions list?"""
    return await asyncio.to_thread(bank.is_sanctioned, ledger, name)


@tool(effect="read")
async def find_beneficiary(ledger: str, iban: str) -> str | None:
    """The name under which this IBAN was paid before."""
    return await asyncio.to_thread(bank.beneficiary, ledger, iban)


@tool(effect="read")
async def find_earlier_request(ledger: str, request: str) -> str | None:
    """An earlier request with the same IBAN, amount and reference."""
    return await asyncio.to_thread(bank.earlier_request, ledger, request)


@tool(effect="read")
async def read_balance(ledger: str) -> int:
    """What is in the account, in cents."""
    return await asyncio.to_thread(bank.balance, ledger)


async def find_payment(ledger: str, request: str, iban: str, cents: int, idempotency_key: str) -> Any:
    """What became of a payment? The bank knows it by its key."""
    receipt = await asyncio.to_thread(bank.receipt_of, ledger, idempotency_key)
    return DID_NOT_HAPPEN if receipt is None else Landed(receipt)


@tool(effect="write", reconcile=find_payment, did_not_happen=(bank.AccountClosed,))
async def send_payment(ledger: str, request: str, iban: str, cents: int, idempotency_key: str) -> str:
    """Pay. Simulated: the way to the bank and the way back take some tenths of a second each."""
    way = 0.15 + 0.05 * (sum(request.encode()) % 5)
    await asyncio.sleep(way)
    receipt = await asyncio.to_thread(bank.pay, ledger, request, iban, cents, idempotency_key)
    await asyncio.sleep(way)
    return receipt
