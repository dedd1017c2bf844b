"""`turnout outbox`: what is on its way, what is dead, and once more."""

from __future__ import annotations

import pytest
from tests.e2e.cli_desk import Folder

HOOK = """
[notify.ledger]
webhook = "http://127.0.0.1:1/"
secret_env = "LEDGER_SECRET"
attempts = {attempts}
backoff = 600
"""


@pytest.fixture
def dead(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder in which a notice was given up."""
    monkeypatch.setenv("LEDGER_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (folder.path / "turnout.toml").write_text(HOOK.format(attempts=1))
    folder.paused()
    return folder


def test_a_dead_notice_is_shown_with_why_and_sent_again(dead: Folder) -> None:
    [row] = dead.json("outbox", "--dead")
    assert (row["channel"], row["event"], row["status"], row["attempts"]) == (
        "ledger", "review.requested", "dead", 1,
    )  # fmt: skip
    assert "ConnectError" in row["error"]
    said = dead.run("outbox").stdout
    assert row["id"] in said
    assert "ConnectError" in said
    assert f"next: turnout outbox resend {row['id']}" in said
    assert (
        dead.run("outbox", "resend", row["id"]).stdout == "1 notice will be sent again; a worker does that\n"
    )
    assert [found["status"] for found in dead.json("outbox")] == ["waiting"]
    assert dead.run("outbox", "--dead").stdout == "no notices\n"
    assert "due 20" in dead.run("outbox", "--status", "waiting").stdout


def test_all_dead_notices_are_sent_again_at_once(dead: Folder) -> None:
    assert dead.json("outbox", "resend", "--all") == [row["id"] for row in dead.json("outbox")]
    assert dead.json("outbox", "resend", "--all") == []


def test_what_can_not_be_resent_is_told_in_one_line(dead: Folder) -> None:
    said = dead.run("outbox", "resend", "n-nothing", ok=False)
    assert said.stderr.startswith(
        "error: there is no notice 'n-nothing' in the outbox of sqlite:///turnout.db"
    )
    assert "say which notice, or --all" in dead.run("outbox", "resend", ok=False).stderr
    assert "--dead is --status dead" in dead.run("outbox", "--dead", "--status", "sent", ok=False).stderr


def test_a_mistake_in_the_file_stops_a_decision_and_changes_nothing(dead: Folder) -> None:
    review = dead.json("reviews")[0]["id"]
    (dead.path / "turnout.toml").write_text('[notify.ledger]\nwebhok = "x"\n')
    said = dead.run("approve", review, "--by", "dana", "--role", "finance", ok=False)
    assert "did you mean 'webhook'?" in said.stderr
    assert len(dead.json("reviews")) == 1
