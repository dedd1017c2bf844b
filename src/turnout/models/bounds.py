"""What an attempt may cost at most: what is reserved for it in the budgets before it is sent.

Of the request only its text is known, not the upstream's tokens. Two bytes a token is fewer than any of today's
tokenizers makes of prose, code or digits in bulk; the answer is bounded by `max_output_tokens`, or is taken to be
`UNBOUNDED`. What an answer costs beyond that is settled all the same.
"""

from __future__ import annotations

from turnout.core.amounts import Amount, Estimate
from turnout.core.entries import Micros
from turnout.core.messages import Message, ModelRequest, TextPart, Usage
from turnout.models import prices
from turnout.models.route import Send
from turnout.models.schema import Deployment, answer_bound

BYTES_A_TOKEN = 2
FRAME = 16
"""Tokens around each message and each tool: roles, separators."""
IMAGE = 5_000
UNBOUNDED = 4_096
"""What an answer is taken to be at most when nothing bounds it: neither the request nor the deployment's options."""


def most(request: ModelRequest, move: Send, terms: Deployment, now: Micros) -> Estimate:
    """The most that sending `request`, with the deployment's options in it, may cost."""
    read, written = read_tokens(request), answer_tokens(request)
    micros, priced = 0, True
    for usage in (
        Usage(input_tokens=read, output_tokens=written),
        Usage(input_tokens=read, output_tokens=written, cache_write_tokens=read),  # dearer, with some
    ):
        found = prices.cost(terms, terms.model, usage, now)
        if found is None:
            priced = False
        else:
            micros = max(micros, found[1])
    amount = Amount(micros, read + written, 1, int(terms.timeout * 1_000))
    return Estimate(amount, priced, move.deployment, terms.model, move.why != "first")


def read_tokens(request: ModelRequest) -> int:
    """The most tokens that the request has."""
    size, frames, images = 0, 0, 0
    for message in request.messages:
        text, pictures = _content(message)
        size += text + sum(len(call.name) + len(str(call.args).encode()) for call in message.tool_calls)
        frames += 1 + len(message.tool_calls)
        images += pictures
    for tool in request.tools:
        size += len(str(tool).encode())
        frames += 1
    size += len(str(request.output).encode()) if request.output else 0
    return size // BYTES_A_TOKEN + 1 + FRAME * (frames + 1) + IMAGE * images


def answer_tokens(request: ModelRequest) -> int:
    """The most tokens that the answer may have. Raises `ValueError` for a bound that is none."""
    found = answer_bound(request.options)
    return UNBOUNDED if found is None else found


def _content(message: Message) -> tuple[int, int]:
    """Bytes of text, and how many images."""
    if isinstance(message.content, str):
        return len(message.content.encode()), 0
    texts = [part.text for part in message.content if isinstance(part, TextPart)]
    return sum(len(text.encode()) for text in texts), len(message.content) - len(texts)
