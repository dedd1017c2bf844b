"""Every error that Turnout raises, in one tree. The docstring is the headline; the message says what happened
in this case and what to do.

    TurnoutError
    ├── UsageError                 the call or the command line is wrong
    │   ├── GraphInvalid           a graph has problems (all of them listed)
    │   ├── InputInvalid           an input, an update or a payload doesn't fit its type
    │   ├── UnknownGraph  UnknownThread  UnknownRun  UnknownReview  UnknownEntry  UnknownTool  UnknownModel
    │   ├── UnknownSchedule        there is no schedule of that name
    │   ├── UnknownNotice          there is no notice of that id in the outbox
    │   ├── UnknownToken           there is no API token of that id
    │   ├── ShownMissing           (HTTP) a decision that doesn't say what was shown
    │   ├── ExportInvalid          a file is not a whole export that this Turnout can read
    │   └── SettingsInvalid        a setting or an address can't be used
    │       ├── UnknownServer      ... because turnout.toml has no MCP server of that name
    │       └── PolicyInvalid      ... because there are mistakes in the rules of a policy (all of them listed)
    ├── Conflict                   somebody else was first, or things have changed
    │   ├── ThreadBusy             an input was refused because a run is active
    │   ├── KeyReused              an idempotency key came back with another input
    │   ├── ReviewClosed           the review was resolved before
    │   ├── ReviewStale            the decision is on content that is no longer what is asked
    │   ├── DecisionNotAllowed     this decision, or this person, isn't allowed here
    │   ├── ForkRefused            a thread can't be forked at that entry
    │   ├── ThreadMoved            the thread goes on in another store, or is on its way
    │   ├── ThreadDiffers          a thread that comes from another store is here already, and is another one
    │   ├── CapReached             (store) a reservation would go over a budget's cap
    │   ├── HeadMoved              (store) the journal grew since it was read
    │   └── StaleWriter            (store) the lease is another's now
    ├── AccessRefused              who asks may not do that
    │   ├── SignInNeeded           no token or session, or one that doesn't hold (any more)
    │   └── RightMissing           whoever signed in has no right to do that
    ├── ServerRefused              (HTTP) the server doesn't take the request, or not now
    │   ├── RequestTooLarge        its body is longer than the server takes
    │   ├── TooManyRequests        too many came in too short a time
    │   └── ServiceUnavailable     not reachable, about to stop, or broken
    ├── StoreError                 the store can't be used
    │   ├── StoreUnavailable       not reachable, locked, full or read-only
    │   ├── StoreDamaged           not a database, or it contradicts itself
    │   └── StoreNewer             the schema is newer than this Turnout
    ├── RunError                   why a run failed (recorded in the journal)
    │   ├── UpdateInvalid          a node's update has an unknown field or a wrong type
    │   ├── MergeConflict          two parallel steps wrote one `replace` field
    │   ├── RouteFailed            a route could not be evaluated or gave an impossible value
    │   ├── StateMutated           (strict mode) a node changed the state that it was handed
    │   ├── StepTimeout  RunTimeout  StepLimit
    │   └── StateInvalid           carried state doesn't fit the schema
    ├── ExportFailed               the file of an export can't be written
    ├── EffectError                raised inside a node by a `ctx` call; a node may catch it
    │   ├── ToolFailed             a tool raised
    │   ├── ModelFailed            a model call failed
    │   │   ├── ModelRateLimited       the upstream takes no more for now; it may say until when
    │   │   ├── ModelUnavailable       not reachable, broken (5xx), overloaded, or without that model
    │   │   │   ├── ModelNotFound      ... it doesn't have that model
    │   │   │   ├── AnswerBroken       ... the answer was cut off, or isn't what the protocol says
    │   │   │   └── ModelTimeout       ... no answer, or no further piece of it, in time
    │   │   ├── ContextWindowExceeded  the prompt is longer than the model can read
    │   │   ├── ContentFiltered        the upstream's content filter refused the prompt or the answer
    │   │   ├── CredentialsRefused     the key is wrong, is missing, or may not do this
    │   │   ├── ModelRequestRefused    the upstream says that the request is wrong
    │   │   └── OutputInvalid          the answer doesn't fit the type that was asked for, also after repair turns
    │   ├── CallTimeout            a tool's time limit cut the call off; what became of it isn't known
    │   ├── DidNotHappen           raised *by a tool*: proof that nothing was changed; a retry is free
    │   ├── ChildFailed            a child thread failed or was cancelled
    │   ├── ServerUnavailable      an MCP server can't be reached; nothing was sent
    │   │   └── NotSent            ... or has not taken in what was sent
    │   ├── BudgetExceeded         a budget has no room for the call; it was not sent
    │   └── EffectRefused          this graph or node may not make that effect
    │       ├── ToolQuarantined    ... because the tool isn't what was approved
    │       ├── CallRefused        policy, or a person, said no to this call
    │       └── GuardBlocked       a guardrail found something in what was asked, or in what came back
    ├── NoticeNotSent              (notify) an attempt to send a notice failed; it is tried again, or is dead
    └── ReplayError
        └── JournalDamaged         the hash chain, the numbering or a stored value is broken
"""

from __future__ import annotations

from typing import Any, Self


class TurnoutError(Exception):
    """Something went wrong in Turnout."""

    store: str = ""
    """The address of a store, where the message names it: that is for those on whose machine this happened."""

    @property
    def headline(self) -> str:
        """The class's docstring: what this kind of error means, in one line."""
        return (type(self).__doc__ or "").strip().splitlines()[0]

    @property
    def told(self) -> str:
        """What a server tells of it to those who ask: what happened, without what is the operator's alone."""
        return str(self).replace(self.store, "this store") if self.store else str(self)

    def within(self, url: str) -> Self:
        """The same, whose message names the store at `url`. (That of a tenant's handle is no address, and may be told.)"""
        self.store = url if "://" in url or "=" in url else ""
        return self


class UsageError(TurnoutError):
    """The call is wrong; nothing was changed."""


class GraphInvalid(UsageError):
    """The graph has problems and was not built."""

    def __init__(self, graph: str, problems: list[str]) -> None:
        self.graph = graph
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"graph {graph!r} has {len(problems)} problem(s):\n{lines}")


class InputInvalid(UsageError):
    """The data doesn't fit its declared type; nothing was changed."""


class UnknownGraph(UsageError):
    """There is no graph of that name here."""


class UnknownThread(UsageError):
    """There is no thread of that name in this store."""


class UnknownRun(UsageError):
    """The thread has no such run."""


class UnknownReview(UsageError):
    """There is no review of that id in this store."""


class UnknownEntry(UsageError):
    """The journal has no entry of that number."""


class UnknownTool(UsageError):
    """The graph doesn't declare that tool."""


class UnknownModel(UsageError):
    """No model (or retrieval source) of that name was given to the app."""


class UnknownSchedule(UsageError):
    """There is no schedule of that name in this store."""


class UnknownNotice(UsageError):
    """There is no notice of that id in this store's outbox, or it is being sent at this moment."""


class UnknownToken(UsageError):
    """There is no API token of that id in this store."""


class ShownMissing(UsageError):
    """A decision has to say what it is about."""


class ExportInvalid(UsageError):
    """That is not a whole export file that this Turnout can read; nothing was changed."""


class SettingsInvalid(UsageError):
    """A setting can't be used."""

    @property
    def told(self) -> str:
        """Without the server's paths, which the message may have; what is wrong with a caller's own rules is theirs."""
        return _SETTING if type(self) is SettingsInvalid else super().told


_SETTING = "a setting of the server can't be used; its log says which"


class UnknownServer(SettingsInvalid):
    """There is no MCP server of that name in turnout.toml."""


class PolicyInvalid(SettingsInvalid):
    """There are mistakes in the rules of a policy; nothing is decided by them."""


class Conflict(TurnoutError):
    """Somebody else was first, or things have changed since."""


class ThreadBusy(Conflict):
    """The thread has an active run, and this input asked not to wait."""


class KeyReused(Conflict):
    """The idempotency key was used before, with another input."""


class ReviewClosed(Conflict):
    """The review is resolved already; the first decision stands."""

    def __init__(self, message: str, first: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.first = first or {}


class ReviewStale(Conflict):
    """The decision was made on content that is no longer what is asked."""


class DecisionNotAllowed(Conflict):
    """This decision, or this person, isn't allowed on this review."""


class ForkRefused(Conflict):
    """The thread can't be forked at that entry."""


class ThreadMoved(Conflict):
    """The thread goes on in another store, or isn't whole here yet; it takes no entries here."""


class ThreadDiffers(Conflict):
    """A thread of that name is here already, and its journal is another one."""


class CapReached(Conflict):
    """A budget has no room for what was to be reserved; nothing of the append was done."""

    def __init__(
        self, seq: int, budget: str, account: str, measure: str, *, at_cap: str, roles: tuple[str, ...], cap: int,
        topped: int, spent: int, reserved: int, wanted: int,
    ) -> None:  # fmt: skip
        """`seq` is the entry that wanted to reserve. The amounts are of `measure`; `cap` is without what was `topped`
        up."""
        self.seq, self.budget, self.account, self.measure = seq, budget, account, measure
        self.at_cap, self.roles = at_cap, roles
        self.cap, self.topped, self.spent, self.reserved, self.wanted = cap, topped, spent, reserved, wanted
        said = dollars if measure == "micros" else str
        more = f" and {said(topped)} topped up" if topped else ""
        super().__init__(
            f"budget {budget} ({account}) allows {said(cap)}{more}{_UNITS.get(measure, '')}; {said(spent)} are spent and "
            f"{said(reserved)} reserved, so there is no room for {said(wanted)} more"
        )


_UNITS = {"tokens": " tokens", "calls": " calls", "ms": " milliseconds of calls"}


def dollars(micros: int) -> str:
    """Millionths of a US dollar as dollars, as exact as they are: "$5.00", "-$0.000125"."""
    whole, part = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}${whole}.{f'{part:06}'.rstrip('0'):0<2}"


class HeadMoved(Conflict):
    """The journal has grown since it was read; read again and retry."""


class StaleWriter(Conflict):
    """Another writer holds the thread's lease now; this append was refused."""


class AccessRefused(TurnoutError):
    """Who asks may not do that; nothing was changed."""


class SignInNeeded(AccessRefused):
    """This needs a token or a session that holds."""


class RightMissing(AccessRefused):
    """Whoever signed in has no right to do that."""


class ServerRefused(TurnoutError):
    """The server didn't take the request."""


class RequestTooLarge(ServerRefused):
    """The request's body is longer than the server takes."""


class TooManyRequests(ServerRefused):
    """Too many requests came in too short a time. `retry_after` is seconds."""

    retry_after: float = 1.0


class ServiceUnavailable(ServerRefused):
    """The server can't be reached, is about to stop, or is broken."""


class StoreError(TurnoutError):
    """The store can't be used."""

    @property
    def told(self) -> str:
        """Without path, host and user of the store, which the message has."""
        return "the server can't use its store now; its log says why"


class StoreUnavailable(StoreError):
    """The store can't be reached, or doesn't take writes now."""


class StoreDamaged(StoreError):
    """The store is not a Turnout database, or is damaged."""


class StoreNewer(StoreError):
    """The store was written by a newer Turnout."""


class RunError(TurnoutError):
    """The run failed."""


class UpdateInvalid(RunError):
    """A node's update has an unknown field or a wrong type."""


class MergeConflict(RunError):
    """Two parallel steps wrote the same field, and the field's reducer is `replace`."""


class RouteFailed(RunError):
    """A route could not be evaluated, or gave a value that is not among its targets."""


class StateMutated(RunError):
    """A node changed the state that it was handed instead of returning an update."""


class StateInvalid(RunError):
    """The carried state doesn't fit the graph's schema."""


class StepTimeout(RunError):
    """A step took longer than its time limit."""


class RunTimeout(RunError):
    """The run took longer than its time limit."""


class StepLimit(RunError):
    """The run took more steps than its step limit."""


class ExportFailed(TurnoutError):
    """The export was not written to its end."""


class EffectError(TurnoutError):
    """A `ctx` call failed. `cause` is the class name of the error behind it, as it is on record."""

    cause: str = ""


class ToolFailed(EffectError):
    """A tool raised an error."""


class ModelFailed(EffectError):
    """A model call failed.

    What a provider knows of the failure: `retry_after` is seconds, `usage` the tokens that were used all the same (or
    None: not known), `finish` the finish reason, `request_id` the upstream's name for the request.
    """

    retry_after: float | None = None
    usage: Any = None
    finish: str = ""
    request_id: str = ""


class ModelRateLimited(ModelFailed):
    """The upstream takes no more requests or tokens for now."""


class ModelUnavailable(ModelFailed):
    """The upstream can't be reached, is broken or overloaded."""


class ModelNotFound(ModelUnavailable):
    """The upstream doesn't have that model."""


class AnswerBroken(ModelUnavailable):
    """The answer was cut off, or isn't what the protocol says."""


class ModelTimeout(ModelUnavailable, TimeoutError):
    """The model's answer, or the next piece of it, didn't come in time."""


class ContextWindowExceeded(ModelFailed):
    """The prompt is longer than the model can read."""


class ContentFiltered(ModelFailed):
    """The upstream's content filter refused the prompt or the answer."""


class CredentialsRefused(ModelFailed):
    """The upstream refused the key."""


class ModelRequestRefused(ModelFailed):
    """The upstream says that the request is wrong; sending it again won't help."""


class OutputInvalid(ModelFailed):
    """The model's answer doesn't fit the type that was asked for."""


class CallTimeout(EffectError, TimeoutError):
    """A call took longer than its tool's time limit and was cut off. That never proves that nothing happened."""


class DidNotHappen(EffectError):
    """Raised by a tool to say: nothing was changed in the world, the call may be made again."""


class ChildFailed(EffectError):
    """A child thread failed or was cancelled."""


class ServerUnavailable(EffectError):
    """An MCP server can't be reached, or isn't fit to be asked. Nothing was sent."""


class NotSent(ServerUnavailable):
    """The request didn't get to the server, or the server didn't take it in. It may be sent again."""


class BudgetExceeded(EffectError):
    """A budget has no room for the call, so it was not sent. Trying again won't help before the cap is raised."""


class EffectRefused(EffectError):
    """This graph or node may not make that effect."""


class ToolQuarantined(EffectRefused):
    """The tool's server says something else of it than what was approved."""


class CallRefused(EffectRefused):
    """Policy, or a person, said no to this call; nothing was sent."""


class GuardBlocked(EffectRefused):
    """A guardrail found something in what was asked or in what came back."""


class NoticeNotSent(TurnoutError):
    """An attempt to send a notice failed. `final`: another one isn't worth it. `wait`: so many seconds, says the receiver."""

    def __init__(self, why: str, *, final: bool = False, wait: float | None = None) -> None:
        super().__init__(why)
        self.final = final
        self.wait = wait


class ReplayError(TurnoutError):
    """Record and code disagree, or the record is broken."""


class JournalDamaged(ReplayError):
    """The journal is broken: an entry was altered, removed, reordered or cut off."""
