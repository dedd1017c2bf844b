"""Mutants of the core: what is decided, folded and checked of data alone."""

from __future__ import annotations

from tests.mutants.files import (
    ADOPT,
    CONTRACT,
    DATA,
    INPUT,
    LINEAR,
    ROUTING,
    RULES,
    TAINT,
    TAMPER,
    TWICE,
    TYPED,
    UNDOING,
)
from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

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


# --- 2: writes are never guessed ---------------------------------------------------------------------------------


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


# --- 2: and nothing is sent that policy or a person has not allowed -----------------------------------------------


@mutant(2, "tests/unit/test_approved_writes.py::test_a_fork_does_not_send_on_its_parents_approval")
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


# --- 3: output commit --------------------------------------------------------------------------------------------


@mutant(3, "tests/unit/test_spending.py::test_a_call_that_is_cut_off_counts_as_assumed_when_its_run_ends")
def a_run_ends_with_calls_reserved() -> None:
    """What is reserved for a call that was cut off stays reserved for ever."""
    rewrite(decide._released, ("for x in run.reserved.values()", "for x in ()"))


# --- 4: one writer -----------------------------------------------------------------------------------------------


@mutant(4, "tests/unit/test_tenants.py::test_a_thread_belongs_to_the_tenant_of_its_first_input_for_life")
def any_tenant_may_write() -> None:
    """An input of one tenant goes into a thread of another."""
    rewrite(core_inputs.check_tenant, ("view.runs and view.tenant != tenant", "False"))


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


# --- 9: adoption by proof ----------------------------------------------------------------------------------------


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


# --- 11: linear storage ------------------------------------------------------------------------------------------


@mutant(11, LINEAR + "the_message_history_of_a_prompt_is_stored_once",
        LINEAR + "a_conversation_grows_with_what_was_said_not_with_its_square")  # fmt: skip
def nothing_is_stored_once() -> None:
    """Repeated values are stored with every entry."""
    rewrite(pack.pack, ("if len(body) <= SMALL:", "if True:"))


# --- 12: tamper-evident ------------------------------------------------------------------------------------------


@mutant(12, TAMPER + "verify_finds[an altered body]")
def chain_does_not_cover_the_body() -> None:
    """A digest covers the envelope alone."""
    rewrite(entries.chain, ("+ canon.encode(entry) + stored)", "+ canon.encode(entry))"))


@mutant(12, TAMPER + "a_chain_that_was_sealed_anew_is_found_against_the_exported_head")
def chain_does_not_cover_what_was_before() -> None:
    """Digests aren't chained."""
    rewrite(entries.chain, ("hashlib.sha256(previous + ", "hashlib.sha256("))


# --- 13: bad input changes nothing -------------------------------------------------------------------------------


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
