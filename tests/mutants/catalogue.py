"""The mutants: each breaks one guarantee of one promise on purpose, and names the tests that must go red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.mutants.patching import reword, rewrite

from turnout.core import decide, effects, entries, pack, reviews
from turnout.core.effects import Record
from turnout.core.function_route import FunctionRoute
from turnout.core.graph import Graph
from turnout.core.routing import RuleTable
from turnout.core.state import StateSchema
from turnout.models.gateway import Gateway
from turnout.runtime import forking, journal, replay, step
from turnout.runtime.journal import Journal
from turnout.runtime.loop import Driver
from turnout.runtime.perform import Performer
from turnout.runtime.whatif import Recorded
from turnout.runtime.worker import Worker
from turnout.service import proof
from turnout.service.app import App
from turnout.stores import sqlite

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


@mutant(1, "tests/unit/test_model_gateway.py::test_what_a_dead_process_learnt_holds_for_the_next_one")
def attempts_are_not_kept_before_the_next() -> None:
    """A model is asked again before it is durable that it was asked."""
    rewrite(Gateway._ask, ("        if past:\n            await call.keep()\n", ""))


# --- 2: writes are never guessed ---------------------------------------------------------------------------------


@mutant(2, WRITES + "a_write_is_on_record_as_intended_before_it_is_sent_and_settled_after",
        COMMIT + "no_write_is_sent_before_its_intent_is_durable")  # fmt: skip
def intent_is_not_durable_before_the_send() -> None:
    """A write is sent before its intent is durable."""
    rewrite(
        Performer._send,
        ("await self._commit(scope)\n        run = self", "run = self"),
    )


@mutant(2, WRITES + "otherwise_a_person_decides",
        WRITES + "an_error_that_proves_nothing_makes_the_outcome_unknown_and_nothing_is_retried")  # fmt: skip
def unknown_write_is_sent_again() -> None:
    """A write of unknown outcome is silently repeated, key or no key."""
    rewrite(
        Performer._resolve,
        ("not (tool.reconcile or tool.takes_key)", "False"),
        ("if fresh:", "if False:"),
    )


@mutant(2, WRITES + "a_write_that_takes_its_key_is_sent_again_with_the_same_key")
def every_send_has_a_new_key() -> None:
    """The idempotency key isn't stable."""
    rewrite(Performer._send, ("args[KEY] = key", "args[KEY] = key + str(id(args))"))


@mutant(2, WRITES + "an_error_that_proves_nothing_makes_the_outcome_unknown_and_nothing_is_retried")
def every_error_proves_that_nothing_happened() -> None:
    """Any error of a write counts as "did not happen"."""
    rewrite(Performer._send, ("isinstance(problem, (DidNotHappen, *tool.did_not_happen))", "True"))


@mutant(2, WRITES + "a_person_decides_when_reconcile_itself_fails")
def failing_reconcile_means_nothing_happened() -> None:
    """When reconcile fails the write is taken for not made."""
    rewrite(
        Performer.look_into,
        (
            "except Exception as problem:\n        return info_of(problem)",
            "except Exception:\n        return DID_NOT_HAPPEN",
        ),
    )


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
    for name in ("due", "due_one"):
        reword(sqlite.SQL, (name,), "lease_until < :now", "lease_until < :now + 1000000000")


@mutant(4, WRITER + "a_review_resolved_twice_shows_the_second_caller_the_first_decision",
        WRITER + "a_review_resolved_at_once_from_two_processes_has_one_effect")  # fmt: skip
def second_decision_is_accepted() -> None:
    """Who resolves a closed review is told that it went well."""
    rewrite(
        App.resolve,
        ("raise closed(await self.review(found.id)) from None", "return await self.review(found.id)"),
    )


@mutant(4, WRITER + "an_input_sent_twice_with_one_key_is_one_run",
        WRITER + "an_input_sent_many_times_at_once_with_one_key_is_one_run")  # fmt: skip
def idempotency_key_is_ignored() -> None:
    """An input sent twice is two runs."""
    rewrite(App.start, ('f"start:{name}:{idempotency_key}" if idempotency_key is not None else None', "None"))


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
        replay.from_record,
        ("raise scope.stop(Frontier(ask.request))", "return await ask.subject.fn(**ask.request.args)"),
    )


@mutant(8, REPLAY + "changed_code_is_shown_the_first_divergence[a changed node result]")
def replay_does_not_compare_results() -> None:
    """A replay takes any result of a step for the recorded one."""
    rewrite(replay._check_step, ("if _same(made, body):", "if True:"))


@mutant(8, REPLAY + "changed_code_is_shown_the_first_divergence[a changed route]",
        REPLAY + "a_renamed_node_is_the_first_divergence")  # fmt: skip
def replay_does_not_decide_again() -> None:
    """A replay believes the recorded decisions."""
    rewrite(replay._check, ("if isinstance(body, _DECIDED):", "if False:"))


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
        ("raise scope.stop(Frontier(ask.request))",
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
        journal.load_view,
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
    rewrite(proof.verify, ("_anchor(against, signer, found) if against is not None else {}", "{}"))


@mutant(12, TAMPER + "a_replaced_key_is_found")
def signatures_are_not_checked() -> None:
    """Any signature will do."""
    rewrite(proof._signed, ("if not genuine(signer.public, said, head.signature):", "if False:"))


# --- 13: bad input changes nothing -------------------------------------------------------------------------------


@mutant(13, INPUT + "[a missing field]", INPUT + "[a wrong type]", INPUT + "[an unknown field]")
def input_is_validated_after_the_append() -> None:
    """A bad input is put on record and fails its run."""
    rewrite(App.start, ("check_input(declared, view, plain)", "pass"))


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
