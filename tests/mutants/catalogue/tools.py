"""Mutants of servers of tools."""

from __future__ import annotations

from tests.mutants.files import CREDENTIALS, PINS
from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

from turnout.tools.secrets import Secrets
from turnout.tools.servers import Servers


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
