"""Mutants of the service: who may do what, what is started and decided, and journals that move."""

from __future__ import annotations

from tests.mutants.files import FORGED, HALF, INPUT, MOVING, TAMPER, WRITER
from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

from turnout.service import deciding, proof, starting
from turnout.service.access import tokens
from turnout.service.access.door import Door
from turnout.service.moving import exporting, standing
from turnout.service.moving.checking import Checker
from turnout.service.moving.importing import Importer
from turnout.service.moving.leaving import Leaving
from turnout.service.starting import Start

# --- 4: one writer -----------------------------------------------------------------------------------------------


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


@mutant(4, "tests/api/test_runs.py::test_a_decision_that_is_sent_twice_with_its_key_counts_once")
def the_keys_of_decisions_are_forgotten() -> None:
    """A decision whose answer was lost can't be sent again."""
    rewrite(deciding._decided_before, ("return used is not None", "return False"))


# --- 12: tamper-evident ------------------------------------------------------------------------------------------


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


# --- who may do what (bad input of another kind) -----------------------------------------------------------------


@mutant(13, "tests/api/test_access.py::test_a_session_needs_its_csrf_token_for_what_changes_something")
def forged_requests_are_taken() -> None:
    """A page of another site can use the session of whoever looks at it."""
    rewrite(Door.caller, ("if shown.changes:", "if False:"))


@mutant(13, "tests/api/test_access.py::test_the_first_token_locks_the_door_and_revoking_it_does_not_open_it")
def revoked_tokens_open_the_door() -> None:
    """A token that was revoked signs in."""
    rewrite(tokens.find, ("if row.revoked_at is not None:", "if False:"))
