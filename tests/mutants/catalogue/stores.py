"""Mutants of the stores: what is claimed, appended and kept apart."""

from __future__ import annotations

from tests.mutants.files import CONTRACT, PAUSE, WRITER, WRITES
from tests.mutants.mutant import mutant
from tests.mutants.patching import reword, rewrite

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

# --- 2: writes are never guessed ---------------------------------------------------------------------------------


@mutant(2, WRITES + "what_a_transactional_tool_wrote_before_an_error_is_undone_and_it_may_be_tried_again")
def what_a_failing_tool_wrote_stays() -> None:
    """What a transactional tool wrote before it raised is committed."""
    rewrite(SqliteTransaction.undo, ('"ROLLBACK"', '"COMMIT"'))


@mutant(2, WRITES + "a_transactional_tool_can_not_commit_by_itself")
def a_tool_may_end_its_transaction() -> None:
    """A transactional tool can commit what it wrote, without an entry."""
    rewrite(sqlite_guard.refusal, ("if action in _ENDS:", "if False:"))


# --- 3: output commit --------------------------------------------------------------------------------------------


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


@mutant(4, CONTRACT + "a_schedule_moves_only_from_where_it_is",
        CONTRACT + "of_many_who_move_a_schedule_at_once_one_wins")  # fmt: skip
def schedules_move_from_anywhere() -> None:
    """A schedule is moved on whatever became of it since it was read."""
    was = " AND next_at IS :was_next_at AND updated_at = :was_updated_at"
    reword(sqlite_schedules.SQL, ("move",), was, "")


# --- 7: a pause holds nothing ------------------------------------------------------------------------------------


@mutant(
    7,
    PAUSE + "a_paused_thread_has_given_its_lease_back",
)
def lease_is_kept_while_paused() -> None:
    """A paused thread stays leased to its worker."""
    reword(sqlite.SQL, ("move_head_and_release",), "owner = '', lease_until = 0", "owner = owner")


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
