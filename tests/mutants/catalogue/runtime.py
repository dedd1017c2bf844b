"""Mutants of the runtime: what drives threads, performs effects and keeps the journal."""

from __future__ import annotations

from tests.mutants.files import (
    ADOPT,
    APPROVALS,
    COMMIT,
    DATA,
    EDITS,
    FORK,
    GUARDS,
    HALF,
    LINEAR,
    MOVING,
    PAUSE,
    REPLAY,
    SCHEDULES,
    TAINT,
    TWICE,
    UNDOING,
    WHAT_IF,
    WRITES,
)
from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

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

# --- 1: nothing is done twice ------------------------------------------------------------------------------------


@mutant(1, TWICE + "a_step_that_ends_with_recorded_effects_unclaimed_has_diverged")
def unclaimed_effects_are_forgotten() -> None:
    """A step may end without claiming what is on record."""
    rewrite(step.execute, ("    if left:", "    if False:"))


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


@mutant(2, TAINT + "a_person_decides_on_a_tainted_write[False]",
        TAINT + "a_tainted_write_is_refused_where_graph_or_tool_say_so[allow-refuse]")  # fmt: skip
def tainted_writes_are_sent() -> None:
    """What graph and tools declare of tainted writes isn't looked at."""
    rewrite(verdicts.declared_of, ("or not scope.taint:", "or True:"))


# --- 2: and nothing is sent that policy or a person has not allowed -----------------------------------------------


@mutant(
    2,
    "tests/unit/test_runtime_policy.py::test_what_policy_denies_is_not_sent_and_the_node_is_told_the_same_in_a_replay[write]",
)
def deny_is_ignored() -> None:
    """A call is made although policy denies it."""
    rewrite(Verdicts.admit, ("if verdict.decision == DENY:", "if False:"))


@mutant(2, APPROVALS + "a_call_that_wants_a_review_is_sent_when_a_person_says_yes_and_only_then")
def review_is_ignored() -> None:
    """A call is made although policy wants a person's yes."""
    rewrite(Verdicts._asked_for, ("if missing:", "if False:"))


@mutant(2, APPROVALS + "an_approval_of_other_arguments_than_are_sent_does_not_count")
def approval_is_not_bound_to_arguments() -> None:
    """A yes counts for whatever is sent then."""
    rewrite(Verdicts.admit, ("if canon.encode(_as_sent(ask, approval)) != mine]", "if False]"))


@mutant(
    2, APPROVALS + "an_approval_lapses_when_the_policy_is_gone",
    APPROVALS + "an_approval_lapses_when_the_tool_is_another_than_the_one_that_was_pinned",
    APPROVALS + "an_approval_expires",
)  # fmt: skip
def approval_never_lapses() -> None:
    """A yes outlives policy, pin and its time."""
    rewrite(Verdicts.approved, ("if why:", "if False:"))


@mutant(2, EDITS + "an_edit_beyond_what_policy_allows_is_refused")
def edited_call_is_not_asked_about_again() -> None:
    """What a person makes of a call is sent without policy having seen it."""
    rewrite(Verdicts.admit, (" and not given[-1].edited:", ":"))


@mutant(2, EDITS + "policy_is_asked_about_an_edit_as_it_would_be_sent")
def edited_call_is_asked_about_as_it_was_written() -> None:
    """Policy sees the text "666" where 666 is sent."""
    rewrite(verdicts._as_sent, ("if approval.edited else", "if False else"))


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


# --- 4: one writer -----------------------------------------------------------------------------------------------


@mutant(4, "tests/unit/test_worker.py::test_a_thread_with_very_many_steps_lets_others_have_their_turn")
def nobody_makes_room() -> None:
    """A thread with very many steps keeps its place to its end."""
    rewrite(turns.to_yield, ("list(long)[:waiting]", "[]"))


@mutant(4, SCHEDULES + "workers_that_have_all_seen_that_nothing_was_started_start_one_run[once]",
        SCHEDULES + "a_crash_between_start_and_move_gives_one_run[once-True-append]")  # fmt: skip
def a_slot_has_no_key() -> None:
    """Whoever fires a slot of a schedule starts a run."""
    rewrite(Schedules._begin, ("make, keys=keys)", "make)"))


@mutant(4, MOVING + "nobody_goes_on_in_the_old_store_with_what_was_moved",
        MOVING + "a_copy_is_driven_only_when_it_is_taken_back", HALF)  # fmt: skip
def threads_that_move_take_entries() -> None:
    """A decision is recorded in a store where nobody acts on it."""
    rewrite(outside.append_outside, ("if row is not None and elsewhere(row.aside):", "if False:"))


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


# --- 10: data only -----------------------------------------------------------------------------------------------


@mutant(10, DATA + "nothing_stored_is_ever_unpickled")
def snapshots_are_unpickled() -> None:
    """What isn't JSON is tried as a pickle."""
    rewrite(
        reading.load_view,
        ("_snapshot.decode(codec.decode(thread, kept[1]))",
         "(__import__('pickle').loads(kept[1]) and None) or _snapshot.decode(codec.decode(thread, kept[1]))"),
    )  # fmt: skip


# --- 11: linear storage ------------------------------------------------------------------------------------------


@mutant(11, LINEAR + "entries_hold_deltas_and_a_snapshot_only_when_they_outweigh_the_last_one")
def every_commit_has_a_snapshot() -> None:
    """A snapshot is written with every commit."""
    rewrite(Journal._change, ("if rows and self._tail > max(", "if rows and -1 < max("))
