"""The mutants: each breaks one guarantee of one promise on purpose, and names the tests that must go red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.mutants.patching import reword, rewrite

from turnout.console import frame
from turnout.console import reviews as console_reviews
from turnout.core import (
    budgets,
    compensation,
    decide,
    effects,
    entries,
    fold_effects,
    fold_steps,
    pack,
    reviews,
    taint,
    verdict,
    watching,
)
from turnout.core import inputs as core_inputs
from turnout.core.booking import Booking
from turnout.core.effects import Record
from turnout.core.fold_runs import RUNS
from turnout.core.function_route import FunctionRoute
from turnout.core.graph import Graph
from turnout.core.routing import RuleTable
from turnout.core.state import StateSchema
from turnout.models.gateway import Gateway
from turnout.notify.deliverer import Deliverer
from turnout.runtime import forking, outside, reading, record, replay, step, turns, verdicts
from turnout.runtime.compensating import Undoing
from turnout.runtime.gate import Gate
from turnout.runtime.guarding import Guarding
from turnout.runtime.journal import Journal
from turnout.runtime.loop import Driver
from turnout.runtime.perform import Performer
from turnout.runtime.schedules import Schedules
from turnout.runtime.spending import Spending
from turnout.runtime.verdicts import Verdicts
from turnout.runtime.whatif import Recorded
from turnout.runtime.worker import Worker
from turnout.runtime.writes import Writes
from turnout.service import deciding, proof, starting
from turnout.service.access import tokens
from turnout.service.access.door import Door
from turnout.service.moving import exporting, standing
from turnout.service.moving.checking import Checker
from turnout.service.moving.importing import Importer
from turnout.service.moving.leaving import Leaving
from turnout.service.starting import Start
from turnout.stores import (
    claims,
    sqlite,
    sqlite_claims,
    sqlite_guard,
    sqlite_outbox,
    sqlite_schedules,
    sqlite_tenants,
)
from turnout.stores.sqlite_transactions import SqliteTransaction
from turnout.stores.tenants import OfTenant
from turnout.tools.secrets import Secrets
from turnout.tools.servers import Servers

TWICE = "tests/promises/test_promise_01_nothing_is_done_twice.py::test_"
WRITES = "tests/promises/test_promise_02_writes_are_never_guessed.py::test_"
COMMIT = "tests/promises/test_promise_03_output_commit.py::test_"
WRITER = "tests/promises/test_promise_04_one_writer.py::test_"
ROUTING = "tests/promises/test_promise_05_closed_routing.py::test_"
TYPED = "tests/promises/test_promise_06_typed_writes.py::test_"
PAUSE = "tests/promises/test_promise_07_a_pause_holds_nothing.py::test_"
REPLAY = "tests/promises/test_promise_08a_replay.py::test_"
FORK = "tests/promises/test_promise_08b_fork.py::test_"
WHAT_IF = "tests/promises/test_promise_08c_what_if.py::test_"
ADOPT = "tests/promises/test_promise_09_adoption_by_proof.py::test_"
DATA = "tests/promises/test_promise_10_data_only.py::test_"
LINEAR = "tests/promises/test_promise_11_linear_storage.py::test_"
TAMPER = "tests/promises/test_promise_12_tamper_evident.py::test_"
INPUT = "tests/promises/test_promise_13_bad_input.py::test_bad_input_is_refused_clearly_and_changes_nothing"
SCHEDULES = "tests/unit/test_schedules.py::test_"
CREDENTIALS = "tests/tools/test_credentials.py::test_"
PINS = "tests/tools/test_pins.py::test_"
MOVING = "tests/moving/test_exactness.py::test_"
HALF = "tests/moving/test_standing.py::test_a_thread_that_is_half_here_is_shut"
FORGED = "tests/moving/test_bad_files.py::test_a_forged_file_is_refused_though_it_is_sealed_again"
TAINT = "tests/unit/test_taint.py::test_"
GUARDS = "tests/unit/test_guarding_"
POLICY = "tests/unit/test_runtime_policy.py::test_"
RULES = "tests/unit/test_policy_cedar.py::test_"
UNDOING = "tests/unit/test_compensation"
CONTRACT = "tests/contract/test_sqlite.py::TestSqliteInMemory::test_"


@dataclass(frozen=True)
class Mutant:
    """`breaks` says in words what is broken; `apply` does it, in the process of the tests that are to find it."""

    name: str
    promise: int
    breaks: str
    apply: Callable[[], None]
    tests: tuple[str, ...]


MUTANTS: list[Mutant] = []


def mutant(promise: int, *tests: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Declare a mutant: its name is the function's, `breaks` its docstring."""

    def declare(apply: Callable[[], None]) -> Callable[[], None]:
        breaks = (apply.__doc__ or "").strip().rstrip(".")
        MUTANTS.append(Mutant(apply.__name__.replace("_", "-"), promise, breaks, apply, tests))
        return apply

    return declare


# --- 1: nothing is done twice ------------------------------------------------------------------------------------


@mutant(
    1,
    TWICE + "a_call_with_other_arguments_is_another_call",
    TWICE + "an_inserted_call_is_never_handed_another_calls_answer",
)
def match_ignores_arguments() -> None:
    """Effects match by kind and name alone."""
    rewrite(effects.content_key, ("request.name, request.args]", "request.name]"))


@mutant(1, TWICE + "a_step_that_is_resumed_after_a_pause_gets_every_effect_from_the_journal")
def record_is_not_asked() -> None:
    """A resumed step asks the world again."""
    rewrite(Record.match, ("return Hit(effect) if effect is not None else MISS", "return MISS"))


@mutant(1, TWICE + "a_write_that_is_not_on_record_while_a_recorded_one_is_unclaimed_sends_nothing")
def unclaimed_write_does_not_stop() -> None:
    """A new write is sent although a recorded one is unclaimed."""
    rewrite(Record.match, ("if effect is None and request.write:", "if False:"))


@mutant(1, TWICE + "a_step_that_ends_with_recorded_effects_unclaimed_has_diverged")
def unclaimed_effects_are_forgotten() -> None:
    """A step may end without claiming what is on record."""
    rewrite(step.execute, ("    if left:", "    if False:"))


@mutant(1, "tests/unit/test_model_attempts.py::test_what_a_dead_process_learnt_holds_for_the_next_one")
def attempts_are_not_kept_before_the_next() -> None:
    """A model is asked again before it is durable that it was asked."""
    rewrite(Gateway._ask, ("        if past:\n            await call.keep()\n", ""))


# --- 2: writes are never guessed ---------------------------------------------------------------------------------


@mutant(2, WRITES + "a_write_is_on_record_as_intended_before_it_is_sent_and_settled_after",
        COMMIT + "no_write_is_sent_before_its_intent_is_durable")  # fmt: skip
def intent_is_not_durable_before_the_send() -> None:
    """A write is sent before its intent is durable."""
    rewrite(
        Spending.reserve,
        (
            "self.staging.put(scope, write)\n            await self.staging.commit(scope)\n",
            "self.staging.put(scope, write)\n",
        ),
    )


@mutant(2, WRITES + "otherwise_a_person_decides",
        WRITES + "an_error_that_proves_nothing_makes_the_outcome_unknown_and_nothing_is_retried")  # fmt: skip
def unknown_write_is_sent_again() -> None:
    """A write of unknown outcome is silently repeated, key or no key."""
    rewrite(
        Writes.resolve,
        ("not (tool.reconcile or again)", "False"),
        ("if fresh:", "if False:"),
    )


@mutant(2, WRITES + "a_write_that_takes_its_key_is_sent_again_with_the_same_key")
def every_send_has_a_new_key() -> None:
    """The idempotency key isn't stable."""
    rewrite(Writes.send, ("args[KEY] = key", "args[KEY] = key + str(id(args))"))


@mutant(2, WRITES + "an_error_that_proves_nothing_makes_the_outcome_unknown_and_nothing_is_retried")
def every_error_proves_that_nothing_happened() -> None:
    """Any error of a write counts as "did not happen"."""
    rewrite(Writes.send, ("isinstance(problem, (DidNotHappen, *tool.did_not_happen))", "True"))


@mutant(2, WRITES + "a_person_decides_when_reconcile_itself_fails")
def failing_reconcile_means_nothing_happened() -> None:
    """When reconcile fails the write is taken for not made."""
    rewrite(
        Writes.look_into,
        (
            "except Exception as problem:\n        return info_of(problem)",
            "except Exception:\n        return DID_NOT_HAPPEN",
        ),
    )


@mutant(2, WRITES + "whoever_sees_what_a_transactional_tool_wrote_sees_the_entry_that_says_so")
def transactional_entries_are_a_commit_of_their_own() -> None:
    """What a transactional tool wrote is committed before the entry that says so."""
    rewrite(
        Journal.transact,
        ("await tx.append(change)", "pass"),
        (
            "    self._appended(change, batch)",
            "    await self.store.append(change); self._appended(change, batch)",
        ),
    )


@mutant(2, WRITES + "what_a_transactional_tool_wrote_before_an_error_is_undone_and_it_may_be_tried_again")
def what_a_failing_tool_wrote_stays() -> None:
    """What a transactional tool wrote before it raised is committed."""
    rewrite(SqliteTransaction.undo, ('"ROLLBACK"', '"COMMIT"'))


@mutant(2, WRITES + "a_transactional_tool_can_not_commit_by_itself")
def a_tool_may_end_its_transaction() -> None:
    """A transactional tool can commit what it wrote, without an entry."""
    rewrite(sqlite_guard.refusal, ("if action in _ENDS:", "if False:"))


@mutant(2, TAINT + "labels_of_parallel_branches_meet_at_the_join")
def a_join_drops_labels() -> None:
    """What branches have written comes out of their join as if it could be trusted."""
    rewrite(
        fold_steps._joined,
        ("taint.joined(view.labels_of(branch.path), body.delta, parts)", "view.labels_of(branch.path)"),
    )


@mutant(2, TAINT + "what_a_model_makes_of_a_labelled_field_is_labelled",
        TAINT + "a_child_gets_the_labels_of_its_input_and_brings_those_of_its_state_back")  # fmt: skip
def reads_are_not_seen() -> None:
    """A step that reads a labelled field, and asks a model about it, writes without its labels."""
    rewrite(watching.watched, ("if not exposure.fields:", "if True:"))


@mutant(2, TAINT + "the_error_of_an_untrusted_tool_is_its_word_too",
        TAINT + "a_tainted_write_is_refused_where_graph_or_tool_say_so[refuse-]")  # fmt: skip
def answers_are_not_labelled() -> None:
    """The results of tools that are declared untrusted carry no label."""
    rewrite(taint.Exposure.answered, ("self.meet([label])", "pass"))


@mutant(2, TAINT + "an_item_carries_the_labels_of_the_step_that_made_it_to_whoever_reads_it")
def items_lose_their_labels() -> None:
    """The items of a fan-out count as trusted."""
    rewrite(fold_steps._decision, ("body.taint if items else ()", "()"))


@mutant(2, TAINT + "the_error_of_a_child_that_failed_carries_what_its_step_had_met")
def children_bring_no_labels() -> None:
    """What a child gives back counts as trusted."""
    rewrite(fold_effects._child_ended, ("effect.args, effect.taint = None, body.taint", "effect.args = None"))


@mutant(2, TAINT + "a_person_decides_on_a_tainted_write[False]",
        TAINT + "a_tainted_write_is_refused_where_graph_or_tool_say_so[allow-refuse]")  # fmt: skip
def tainted_writes_are_sent() -> None:
    """What graph and tools declare of tainted writes isn't looked at."""
    rewrite(verdicts.declared_of, ("or not scope.taint:", "or True:"))


@mutant(2, PINS + "a_write_to_a_quarantined_tool_is_on_record_as_one_that_did_not_happen",
        PINS + "a_tool_whose_description_changes_between_two_runs_is_quarantined_until_it_is_approved_again")  # fmt: skip
def a_changed_tool_is_called() -> None:
    """A tool of an MCP server is called though it isn't what was approved."""
    rewrite(Servers._unchanged, ("if live.digest != tool.pin:", "if False:"))


@mutant(2, PINS + "only_the_nodes_that_are_listed_may_call_a_tool[nobody]",
        PINS + "only_the_nodes_that_are_listed_may_call_a_tool[another node]")  # fmt: skip
def anybody_may_call_a_tool() -> None:
    """Who may call a tool of an MCP server is not looked at."""
    rewrite(Servers._permitted, ("if not declared.allows(graph, node):", "if False:"))


@mutant(2, CREDENTIALS + "credentials_are_nowhere_though_the_server_repeats_them[stdio-a result]",
        CREDENTIALS + "credentials_are_nowhere_though_the_server_repeats_them[stdio-an error]")  # fmt: skip
def a_server_s_echo_is_believed() -> None:
    """Credentials that a server repeats get into the journal."""
    rewrite(Secrets.out_of, ("if isinstance(data, str):", "if True:\n        return data\n    if False:"))


# --- 2: and nothing is sent that policy or a person has not allowed -----------------------------------------------


@mutant(2, POLICY + "what_policy_denies_is_not_sent_and_the_node_is_told_the_same_in_a_replay[write]")
def deny_is_ignored() -> None:
    """A call is made although policy denies it."""
    rewrite(Verdicts.admit, ("if verdict.decision == DENY:", "if False:"))


@mutant(2, POLICY + "a_call_that_wants_a_review_is_sent_when_a_person_says_yes_and_only_then")
def review_is_ignored() -> None:
    """A call is made although policy wants a person's yes."""
    rewrite(Verdicts._asked_for, ("if missing:", "if False:"))


@mutant(2, POLICY + "an_approval_of_other_arguments_than_are_sent_does_not_count")
def approval_is_not_bound_to_arguments() -> None:
    """A yes counts for whatever is sent then."""
    rewrite(Verdicts.admit, ("if canon.encode(_as_sent(ask, approval)) != mine]", "if False]"))


@mutant(
    2, POLICY + "an_approval_lapses_when_the_policy_is_gone",
    POLICY + "an_approval_lapses_when_the_tool_is_another_than_the_one_that_was_pinned",
    POLICY + "an_approval_expires",
)  # fmt: skip
def approval_never_lapses() -> None:
    """A yes outlives policy, pin and its time."""
    rewrite(Verdicts.approved, ("if why:", "if False:"))


@mutant(2, POLICY + "an_edit_beyond_what_policy_allows_is_refused")
def edited_call_is_not_asked_about_again() -> None:
    """What a person makes of a call is sent without policy having seen it."""
    rewrite(Verdicts.admit, (" and not given[-1].edited:", ":"))


@mutant(2, POLICY + "policy_is_asked_about_an_edit_as_it_would_be_sent")
def edited_call_is_asked_about_as_it_was_written() -> None:
    """Policy sees the text "666" where 666 is sent."""
    rewrite(verdicts._as_sent, ("if approval.edited else", "if False else"))


@mutant(2, POLICY + "a_fork_does_not_send_on_its_parents_approval")
def forks_inherit_approvals() -> None:
    """One yes is for a call of the parent, and for the same call of every fork."""
    rewrite(
        RUNS["thread.forked"],
        ("step.approvals, step.cleared, step.topups = {}, {}, {}", "step.cleared = step.topups = {}"),
    )


@mutant(2, RULES + "an_evaluation_error_denies_with_the_error_shown",
        "tests/unit/test_verdict_core.py::test_an_evaluation_error_denies_and_is_shown_whatever_else_allows")  # fmt: skip
def rules_that_fail_are_left_out() -> None:
    """A rule that can't be evaluated doesn't count."""
    rewrite(verdict.combine, ("    if errors:\n", "    if False:\n"))


@mutant(2, UNDOING + ".py::test_a_run_that_fails_undoes_what_has_landed_the_latest_first",
        "tests/property/test_compensation_crashes.py::test_a_crash_at_every_append_undoes_everything_once_and_in_order[False-False-False]")  # fmt: skip
def compensations_run_in_the_order_of_landing() -> None:
    """What landed first is undone first."""
    rewrite(compensation.next_started, ("max(run.landings", "min(run.landings"))


@mutant(2, UNDOING + "_outcomes.py::test_a_person_says_what_became_of_a_write_before_it_is_undone[True]",
        UNDOING + "_outcomes.py::test_a_write_of_unknown_outcome_is_looked_into_first[said1-did_not_happen-False]")  # fmt: skip
def an_unknown_write_is_undone_on_a_guess() -> None:
    """A write of unknown outcome is undone as if it had landed."""
    rewrite(Undoing.undo, ("if not landing.known:", "if False:"))


# --- 3: output commit --------------------------------------------------------------------------------------------


@mutant(3, COMMIT + "no_effect_starts_before_what_was_paid_for_is_durable",
        COMMIT + "an_expensive_effect_is_one_more_commit_a_write_two_and_the_rest_none[await ctx.call(look, x='a')-1]")  # fmt: skip
def paid_answers_ride_along() -> None:
    """What was paid for isn't durable before the next effect."""
    rewrite(Performer._recorded, ("    if durable:", "    if False:"))


@mutant(3, COMMIT + "nobody_is_asked_before_the_question_is_durable")
def entries_are_shown_before_they_are_durable() -> None:
    """Entries are told to the world before the commit."""
    rewrite(
        Journal.commit,
        (
            "change = self._change(batch)",
            "change = self._change(batch); self.on_entries and self.on_entries(batch)",
        ),
    )


@mutant(3, CONTRACT + "an_append_that_is_refused_leaves_no_notice")
def notices_are_written_before_their_entry() -> None:
    """A notice is put into the outbox whether its entry is taken or not, and outside of its transaction."""
    rewrite(
        sqlite.SqliteStore.append,
        ("await self._write(", "await self._write(lambda db: outgoing.add(db, change.outbox)); change.outbox = []; "
                               "await self._write("),
    )  # fmt: skip


@mutant(3, CONTRACT + "many_who_claim_at_once_never_share_a_notice",
        CONTRACT + "a_claim_takes_what_is_due_to_its_channel_the_longest_due_first")  # fmt: skip
def notices_are_not_held_while_they_are_sent() -> None:
    """Two processes send one notice at the same time."""
    reword(sqlite_outbox.SQL, ("take",), "held_until = :until", "held_until = 0")


@mutant(
    3,
    "tests/notify/test_webhooks.py::test_a_receiver_that_fails_gets_the_same_notice_again_under_the_same_id",
)
def a_notice_that_failed_counts_as_sent() -> None:
    """A notice is marked as sent whatever its receiver said."""
    rewrite(
        Deliverer._failed,
        (
            "now = self._clock.now()",
            "now = self._clock.now(); return replace(row, status='sent', settled_at=now)",
        ),
    )


@mutant(3, COMMIT + "a_plain_step_is_one_commit")
def every_decision_is_a_commit_of_its_own() -> None:
    """A plain step takes two commits."""
    rewrite(
        Driver._turn,
        ("journal.stage(plan.drafts, now)", "await journal.commit(); journal.stage(plan.drafts, now)"),
    )


@mutant(3, GUARDS + "calls.py::test_what_is_declared_to_be_cut_out_is_neither_sent_nor_stored",
        GUARDS + "models.py::test_a_model_gets_and_gives_what_is_left")  # fmt: skip
def nothing_is_cut_out() -> None:
    """A guardrail that is to redact notes its finding, and lets it pass."""
    rewrite(Guarding._look, ('else ("redact", left)', 'else ("redact", seen.value)'))


@mutant(3, GUARDS + "writes.py::test_a_write_that_is_sent_again_is_sent_as_it_is_on_record")
def a_second_send_is_as_the_node_asks() -> None:
    """A write that is sent again is sent with what had been cut out of it."""
    rewrite(Performer.__call__, ("ask = as_sent(ask, effect)", "pass"))


@mutant(3, GUARDS + "models.py::test_nothing_of_a_blocked_answer_is_streamed[block-shown0]")
def a_stream_runs_ahead_of_its_guardrails() -> None:
    """Pieces of an answer are shown before the whole was looked at."""
    rewrite(
        Gate.streamed,
        ("scope.emit if self._guarding is None else self._guarding.streamed(scope, ask)", "scope.emit"),
    )


@mutant(3, "tests/unit/test_spending.py::test_a_call_over_the_cap_fails_and_is_not_sent")
def a_call_is_sent_before_its_reservation_is_durable() -> None:
    """What a call may cost is reserved when the next commit comes along."""
    rewrite(
        Spending.reserve, ("        await self.staging.commit(scope)\n        refused", "        refused")
    )


@mutant(3, "tests/unit/test_spending.py::test_a_call_that_is_cut_off_counts_as_assumed_when_its_run_ends")
def a_run_ends_with_calls_reserved() -> None:
    """What is reserved for a call that was cut off stays reserved for ever."""
    rewrite(decide._released, ("for x in run.reserved.values()", "for x in ()"))


# --- 4: one writer -----------------------------------------------------------------------------------------------


@mutant(4, WRITER + "the_append_of_a_stale_writer_is_refused_whatever_it_believes",
        CONTRACT + "an_append_of_another_epoch_is_refused")  # fmt: skip
def epoch_is_not_checked() -> None:
    """A stale writer's append is taken."""
    reword(
        sqlite.SQL,
        ("advance_head", "move_head", "move_head_and_wake", "move_head_and_release"),
        " AND epoch = :epoch",
        "",
    )


@mutant(
    4,
    CONTRACT + "entries_are_numbered_densely_whoever_races",
    CONTRACT + "an_append_behind_another_head_is_refused",
)
def head_is_not_checked() -> None:
    """Two writers that read the same head both append."""
    reword(
        sqlite.SQL,
        ("advance_head", "move_head", "move_head_and_wake", "move_head_and_release"),
        " AND head = :head",
        "",
    )


@mutant(4, CONTRACT + "a_held_thread_is_not_claimed_before_its_lease_ends")
def leases_are_not_respected() -> None:
    """A held thread is claimed all the same."""
    names = ("run_out", "due_one", "take")
    reword(sqlite_claims.SQL, names, "lease_until < :now", "lease_until < :now + 1000000000")


@mutant(4, WRITER + "a_review_resolved_twice_shows_the_second_caller_the_first_decision",
        WRITER + "a_review_resolved_at_once_from_two_processes_has_one_effect")  # fmt: skip
def second_decision_is_accepted() -> None:
    """Who resolves a closed review is told that it went well."""
    rewrite(
        deciding.decide,
        ("raise closed(await named(store, found.id)) from None", "return True"),
    )


@mutant(4, WRITER + "an_input_sent_twice_with_one_key_is_one_run",
        WRITER + "an_input_sent_many_times_at_once_with_one_key_is_one_run")  # fmt: skip
def idempotency_key_is_ignored() -> None:
    """An input sent twice is two runs."""
    rewrite(starting.checked, ("Start(graph, plain, thread, key,", "Start(graph, plain, thread, None,"))


@mutant(4, CONTRACT + "no_more_threads_of_a_graph_are_taken_than_its_limit_allows",
        CONTRACT + "many_who_claim_at_once_stay_within_the_limits")  # fmt: skip
def limits_are_not_counted() -> None:
    """More threads of a graph are held than its limit allows."""
    rewrite(sqlite_claims.Room.take, ("return False", "pass"))


@mutant(4, CONTRACT + "one_suspect_is_taken_at_a_time")
def suspects_are_taken_together() -> None:
    """Threads that may be what kills their workers are held together, so that nobody can tell which it is."""
    rewrite(claims.pick, ("elif one.tried >= SUSPECT and not suspects:", "elif False:"))


@mutant(4, CONTRACT + "a_thread_is_set_aside_after_the_declared_number_of_tries",
        "tests/unit/test_worker.py::test_a_thread_is_set_aside_and_who_waits_for_it_is_told")  # fmt: skip
def tries_are_not_counted() -> None:
    """A thread that kills its worker is taken by the next one, for ever."""
    rewrite(claims.pick, ("if asked.tries and one.tried >= asked.tries:", "if False:"))


@mutant(4, "tests/unit/test_worker.py::test_a_thread_with_very_many_steps_lets_others_have_their_turn")
def nobody_makes_room() -> None:
    """A thread with very many steps keeps its place to its end."""
    rewrite(turns.to_yield, ("list(long)[:waiting]", "[]"))


@mutant(4, "tests/unit/test_tenants.py::test_a_thread_belongs_to_the_tenant_of_its_first_input_for_life")
def any_tenant_may_write() -> None:
    """An input of one tenant goes into a thread of another."""
    rewrite(core_inputs.check_tenant, ("view.runs and view.tenant != tenant", "False"))


@mutant(4, SCHEDULES + "workers_that_have_all_seen_that_nothing_was_started_start_one_run[once]",
        SCHEDULES + "a_crash_between_start_and_move_gives_one_run[once-True-append]")  # fmt: skip
def a_slot_has_no_key() -> None:
    """Whoever fires a slot of a schedule starts a run."""
    rewrite(Schedules._begin, ("make, keys=keys)", "make)"))


@mutant(4, CONTRACT + "a_schedule_moves_only_from_where_it_is",
        CONTRACT + "of_many_who_move_a_schedule_at_once_one_wins")  # fmt: skip
def schedules_move_from_anywhere() -> None:
    """A schedule is moved on whatever became of it since it was read."""
    was = " AND next_at IS :was_next_at AND updated_at = :was_updated_at"
    reword(sqlite_schedules.SQL, ("move",), was, "")


@mutant(4, MOVING + "nobody_goes_on_in_the_old_store_with_what_was_moved",
        MOVING + "a_copy_is_driven_only_when_it_is_taken_back", HALF)  # fmt: skip
def threads_that_move_take_entries() -> None:
    """A decision is recorded in a store where nobody acts on it."""
    rewrite(outside.append_outside, ("if row is not None and elsewhere(row.aside):", "if False:"))


@mutant(4, MOVING + "nobody_goes_on_in_the_old_store_with_what_was_moved",
        "tests/moving/test_selection.py::test_a_thread_that_is_being_driven_is_exported_as_it_was_at_one_entry[file-to-memory-move]")  # fmt: skip
def a_move_leaves_the_old_store_driving() -> None:
    """Threads that move aren't set aside where they were."""
    rewrite(Leaving.set_aside, ("await self._store.set_aside([row.thread], reason)", "pass"))


@mutant(4, MOVING + "a_copy_is_driven_only_when_it_is_taken_back")
def copies_are_driven() -> None:
    """Threads that come from a copy are due at once."""
    rewrite(
        standing.set_aside,
        ('return "" if line.ended or line.moved else aside.copied(line.thread)', 'return ""'),
    )


@mutant(4, HALF)
def half_a_journal_is_not_set_aside() -> None:
    """A thread whose journal isn't whole yet can be claimed."""
    rewrite(Importer._write, ("aside=None if final is None else shut", "aside=None"))


@mutant(4, CONTRACT + "many_who_reserve_at_once_never_go_over_a_cap",
        "tests/unit/test_spending.py::test_parallel_calls_never_go_over_a_cap_together")  # fmt: skip
def what_is_reserved_does_not_count() -> None:
    """A cap looks at what was spent alone, not at what calls under way may cost."""
    rewrite(
        budgets.room,
        ("account.spent.of(measure) + account.reserved.of(measure)", "account.spent.of(measure)"),
    )


@mutant(4, CONTRACT + "what_is_reserved_is_settled_at_what_it_cost")
def a_settlement_does_not_free_what_was_reserved() -> None:
    """A call is charged, and its reservation stays."""
    rewrite(Booking._settle, ("account.reserved - row.held", "account.reserved"))


@mutant(4, "tests/api/test_runs.py::test_a_decision_that_is_sent_twice_with_its_key_counts_once")
def the_keys_of_decisions_are_forgotten() -> None:
    """A decision whose answer was lost can't be sent again."""
    rewrite(deciding._decided_before, ("return used is not None", "return False"))


# --- 5: closed routing -------------------------------------------------------------------------------------------


@mutant(5, ROUTING + "an_impossible_value_at_run_time_fails_the_run_and_says_so")
def unknown_target_ends_the_run() -> None:
    """A route's impossible value is taken for END."""
    rewrite(
        FunctionRoute.choose,
        ("if value is END:", "if type(value) is str and value not in self._ways:"),
    )


@mutant(5, ROUTING + "a_rule_table_without_a_default_is_a_build_error")
def default_may_be_missing() -> None:
    """A rule table without a default builds."""
    rewrite(
        RuleTable.problems,
        ("if self.default is None:", "if self.default is None:\n        return found\n    if False:"),
    )


@mutant(5, ROUTING + "a_node_that_can_not_be_reached_is_a_build_error",
        ROUTING + "a_node_from_which_no_way_leads_to_the_end_is_a_build_error")  # fmt: skip
def shape_is_not_checked() -> None:
    """Unreachable nodes and dead ends build."""
    rewrite(Graph.problems, ("return found or shape.shape_problems(self)", "return found"))


# --- 6: typed writes ---------------------------------------------------------------------------------------------


@mutant(6, TYPED + "two_parallel_steps_that_write_one_replace_field_are_an_error",
        TYPED + "two_items_of_a_fan_out_that_write_one_replace_field_are_an_error")  # fmt: skip
def merge_conflict_is_ignored() -> None:
    """Of two parallel writes the last one wins."""
    rewrite(StateSchema.join, ("if writer.setdefault(name, branch) != branch:", "if False:"))


@mutant(6, TYPED + "an_update_is_checked_when_it_is_written[update0-amuont]")
def unknown_fields_are_dropped() -> None:
    """An unknown field in an update is silently left out."""
    rewrite(
        StateSchema.delta,
        (
            "self._known_fields(update, error, where)",
            "update = {k: v for k, v in update.items() if k in self.fields}",
        ),
    )


@mutant(6, TYPED + "an_update_is_checked_when_it_is_written[update1-amount]")
def wrong_types_are_written() -> None:
    """An update isn't validated."""
    rewrite(
        StateSchema._change,
        (
            "typed = value if spec.exactly(value) else spec.dump(spec.check(value), what)",
            "typed = value",
        ),
        ("canon.settle(spec.check(total), total, what)", "pass"),
    )


# --- 7: a pause holds nothing ------------------------------------------------------------------------------------


@mutant(7, PAUSE + "five_hundred_paused_threads_hold_no_task_and_no_object")
def paused_drivers_are_kept() -> None:
    """The worker keeps an object for every thread that it has driven."""
    rewrite(
        Worker._drove,
        (
            "self._drivers.pop(thread, None)",
            "self.__dict__.setdefault('kept', []).append(self._drivers.pop(thread, None))",
        ),
    )


@mutant(
    7,
    PAUSE + "a_paused_thread_has_given_its_lease_back",
)
def lease_is_kept_while_paused() -> None:
    """A paused thread stays leased to its worker."""
    reword(sqlite.SQL, ("move_head_and_release",), "owner = '', lease_until = 0", "owner = owner")


# --- 8: replay, fork, what-if ------------------------------------------------------------------------------------


@mutant(8, REPLAY + "changed_code_is_shown_the_first_divergence[an inserted call]",
        REPLAY + "changed_code_is_shown_the_first_divergence[changed arguments]")  # fmt: skip
def replay_calls_live() -> None:
    """A replay asks the world for what isn't on record."""
    rewrite(
        record.from_record,
        ("raise Frontier(ask.request)", "return await ask.subject.fn(**ask.request.args)"),
    )


@mutant(8, REPLAY + "changed_code_is_shown_the_first_divergence[a changed node result]")
def replay_does_not_compare_results() -> None:
    """A replay takes any result of a step for the recorded one."""
    rewrite(replay._check_step, ("if _same(made, body):", "if True:"))


@mutant(8, REPLAY + "changed_code_is_shown_the_first_divergence[a changed route]",
        REPLAY + "a_renamed_node_is_the_first_divergence")  # fmt: skip
def replay_does_not_decide_again() -> None:
    """A replay believes the recorded decisions."""
    rewrite(replay._check, ("if body.decided:", "if False:"))


@mutant(8, FORK + "a_fork_runs_on_the_edited_state")
def fork_forgets_its_edit() -> None:
    """A fork's update isn't written."""
    rewrite(
        forking.fork,
        (
            "ThreadForked(parent=parent, at=at, delta=delta, by=by)",
            "ThreadForked(parent=parent, at=at, by=by)",
        ),
    )


@mutant(8, WHAT_IF + "a_changed_rule_that_leads_to_what_was_never_done_marks_the_gap",
        WHAT_IF + "a_changed_prompt_marks_the_gap_at_the_model_call")  # fmt: skip
def what_if_performs() -> None:
    """A what-if makes the calls that the record doesn't answer."""
    rewrite(
        Recorded.__call__,
        ('an effect on record", ask.request.text)\n        raise scope.stop(Frontier(ask.request))',
         'an effect on record", ask.request.text)\n        '
         "return await ask.subject.fn(**ask.request.args) if ask.request.kind == 'tool' else {'text': 'made up'}"),
        ("if self.gap is None:", "if False:"),
    )  # fmt: skip


# --- 9: adoption by proof ----------------------------------------------------------------------------------------


@mutant(9, ADOPT + "incompatible_code_parks_the_run_with_the_divergence_shown[other arguments]",
        ADOPT + "incompatible_code_parks_the_run_with_the_divergence_shown[another question]")  # fmt: skip
def adoption_without_proof() -> None:
    """Any version takes any run over."""
    rewrite(replay.take_over, ("    if divergence is None:", "    if True:"))


@mutant(9, ADOPT + "a_migration_is_refused_after_a_write")
def migration_after_a_write() -> None:
    """A migration starts a step again that has written."""
    rewrite(replay._migrate, ("any(x.write for", "any(False for"))


@mutant(9, ADOPT + "an_input_to_a_carried_state_that_does_not_fit_is_refused",
        ADOPT + "incompatible_code_parks_the_run_with_the_divergence_shown[a state that doesn't fit]")  # fmt: skip
def carried_state_is_not_validated() -> None:
    """The new version takes the old state as it is."""
    rewrite(decide.carry, ("carried = graph.schema.carried(state)", "carried = dict(state)"))
    rewrite(
        StateSchema.carried,
        ("def carried(self, doc: Doc) -> Doc:", "def carried(self, doc: Doc) -> Doc:\n    return dict(doc)"),
    )


# --- 10: data only -----------------------------------------------------------------------------------------------


@mutant(10, DATA + "an_entry_that_is_not_of_its_declared_type_is_an_error_that_names_it")
def bodies_are_decoded_without_their_type() -> None:
    """An entry's body is whatever lies in the store."""
    rewrite(
        entries.decode_body,
        ("return _DECODERS[kind].decode(data)", "return BODIES[kind](**canon.decode(data))"),
    )


@mutant(10, DATA + "nothing_stored_is_ever_unpickled")
def snapshots_are_unpickled() -> None:
    """What isn't JSON is tried as a pickle."""
    rewrite(
        reading.load_view,
        ("_snapshot.decode(codec.decode(thread, kept[1]))",
         "(__import__('pickle').loads(kept[1]) and None) or _snapshot.decode(codec.decode(thread, kept[1]))"),
    )  # fmt: skip


# --- 11: linear storage ------------------------------------------------------------------------------------------


@mutant(11, LINEAR + "the_message_history_of_a_prompt_is_stored_once",
        LINEAR + "a_conversation_grows_with_what_was_said_not_with_its_square")  # fmt: skip
def nothing_is_stored_once() -> None:
    """Repeated values are stored with every entry."""
    rewrite(pack.pack, ("if len(body) <= SMALL:", "if True:"))


@mutant(11, LINEAR + "entries_hold_deltas_and_a_snapshot_only_when_they_outweigh_the_last_one")
def every_commit_has_a_snapshot() -> None:
    """A snapshot is written with every commit."""
    rewrite(Journal._change, ("if rows and self._tail > max(", "if rows and -1 < max("))


# --- 12: tamper-evident ------------------------------------------------------------------------------------------


@mutant(12, TAMPER + "verify_finds[an altered body]")
def chain_does_not_cover_the_body() -> None:
    """A digest covers the envelope alone."""
    rewrite(entries.chain, ("+ canon.encode(entry) + stored)", "+ canon.encode(entry))"))


@mutant(12, TAMPER + "a_chain_that_was_sealed_anew_is_found_against_the_exported_head")
def chain_does_not_cover_what_was_before() -> None:
    """Digests aren't chained."""
    rewrite(entries.chain, ("hashlib.sha256(previous + ", "hashlib.sha256("))


@mutant(12, TAMPER + "a_cut_tail_is_found_against_the_exported_head",
        TAMPER + "a_rolled_back_database_is_found_against_the_exported_head")  # fmt: skip
def verify_ignores_the_exported_head() -> None:
    """`verify --against` looks at the store alone."""
    rewrite(proof.verify, ("_anchor(against, signer, found, signed_by) if against is not None else {}", "{}"))


@mutant(12, TAMPER + "a_replaced_key_is_found")
def signatures_are_not_checked() -> None:
    """Any signature will do."""
    rewrite(proof._signed, ("if not genuine(signer.public, said, head.signature):", "if False:"))


@mutant(12, FORGED + "[an entry's body]", FORGED + "[an entry's time]")
def an_import_trusts_the_chain() -> None:
    """The digests of entries that come in aren't computed again."""
    rewrite(Checker._entry, ("if e.chain(part.digest, envelope, row.stored) != row.digest:", "if False:"))


@mutant(12, FORGED + "[a value]")
def an_import_trusts_addresses() -> None:
    """Stored values that come in needn't be what their address says."""
    rewrite(Checker._value, ("pack.check(line.address, data, source.value)", "pass"))


@mutant(
    12, "tests/moving/test_bad_files.py::test_a_broken_journal_is_not_exported_and_the_others_are_on_demand"
)
def an_export_trusts_the_chain() -> None:
    """A broken journal is exported as if it were whole."""
    rewrite(exporting._proven, ("if e.chain(digest, envelope, row.stored) != row.digest:", "if False:"))


# --- 13: bad input changes nothing -------------------------------------------------------------------------------


@mutant(13, INPUT + "[a missing field]", INPUT + "[a wrong type]", INPUT + "[an unknown field]")
def input_is_validated_after_the_append() -> None:
    """A bad input is put on record and fails its run."""
    rewrite(Start.drafts, ("check_input(self.graph, view, self.input, max(self.at or 0, now))", "pass"))


@mutant(13, INPUT + "[an edit of an unknown field]")
def edits_may_name_any_field() -> None:
    """An edit may put unknown fields into a payload."""
    rewrite(
        reviews.edited,
        ("if name not in review.payload:", "if False:"),
        ("old = review.payload[name]", "old = review.payload.get(name)"),
    )


@mutant(13, INPUT + "[a decision on stale content]")
def stale_decisions_are_taken() -> None:
    """A decision on content that has changed is taken."""
    rewrite(reviews.judge, ("if given.shown is not None and given.shown != review.shown:", "if False:"))


# --- who may do what (bad input of another kind) -----------------------------------------------------------------


@mutant(
    13,
    CONTRACT + "a_tenants_handle_reads_what_is_the_tenants_alone",
    CONTRACT + "what_is_anothers_is_not_there_for_a_tenants_handle",
    "tests/api/test_matrix.py::test_another_tenants_ids_lead_nowhere_and_change_nothing[sqlite]",
)
def tenants_see_all_threads() -> None:
    """A tenant's handle finds the threads of others."""
    reword(sqlite_tenants.VIEWS, ("threads",), "WHERE tenant = caller_tenant()", "")


@mutant(13, CONTRACT + "a_tenants_handle_changes_nothing_of_anothers")
def tenants_write_where_they_like() -> None:
    """A tenant's handle appends to any thread whose name it knows."""
    rewrite(OfTenant.append, (") != self.tenant or change.wakes:", ") is None:"))


@mutant(13, "tests/api/test_access.py::test_a_session_needs_its_csrf_token_for_what_changes_something")
def forged_requests_are_taken() -> None:
    """A page of another site can use the session of whoever looks at it."""
    rewrite(Door.caller, ("if shown.changes:", "if False:"))


@mutant(13, "tests/api/test_access.py::test_the_first_token_locks_the_door_and_revoking_it_does_not_open_it")
def revoked_tokens_open_the_door() -> None:
    """A token that was revoked signs in."""
    rewrite(tokens.find, ("if row.revoked_at is not None:", "if False:"))


@mutant(
    13,
    "tests/console/test_pages.py::test_no_page_has_a_script_a_style_or_a_handler_of_its_own_whatever_it_shows",
)
def pages_take_text_for_markup() -> None:
    """What a payload says becomes part of the page."""
    rewrite(frame.Frame.__init__, ("autoescape=True", "autoescape=False"))


@mutant(13, "tests/console/test_access.py::test_a_form_of_another_site_changes_nothing[False-headers1-form1]")
def forms_need_no_mark() -> None:
    """Where nobody signs in, a form that comes from none of our pages is taken."""
    rewrite(frame.Frame._visit, ("if changes and not (", "if False and not ("))


@mutant(13, "tests/console/test_decisions.py::test_who_comes_second_is_shown_the_first_decision")
def pages_lose_the_first_decision() -> None:
    """Who comes second isn't told what holds."""
    rewrite(console_reviews.decide, ("late=True", "late=False"))
