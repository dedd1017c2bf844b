"""`turnout serve`: one process that answers and works; what it refuses; how it ends."""

import json
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cli_desk import Folder
from tests.e2e.serving import serving

from turnout import Finished, Paused, approve, connect_sync
from turnout.cli.serve import listening
from turnout.errors import RightMissing, SignInNeeded

pytestmark = pytest.mark.e2e


def test_with_json_logs_that_nobody_signs_in_is_a_log_line_too(folder: Folder) -> None:
    with serving(folder.path, "desk:refunds", "--log", "json") as server:
        assert server.end() == 0
    said = [line for line in server.said.splitlines() if not line.startswith(("Turnout is at", "stopped:"))]
    [line] = [one for one in map(json.loads, said) if "NOBODY HAS TO SIGN IN" in one["message"]]
    assert (line["level"], line["logger"]) == ("warning", "turnout")


def test_it_works_at_once_on_loopback_says_loudly_that_nobody_signs_in_and_prints_one_address(
    folder: Folder,
) -> None:
    with serving(folder.path, "desk:refunds") as server:
        with connect_sync(server.url) as app:
            outcome = app.run("refunds", {"order": "big"}, thread="case-17")
            assert isinstance(outcome, Paused)
            app.resolve(outcome.reviews[0], approve(by="dana"))
            assert isinstance(app.wait("case-17/1"), Finished)
        assert "NOBODY HAS TO SIGN IN" in server.said
        assert server.said.count("http://") == 1
        assert server.end() == 0
    assert "stopped: " in server.said
    assert "Traceback" not in server.said
    assert len(folder.ledger()) == 1
    told = folder.json("explain", "case-17")["reviews"][0]["opinions"][0]
    assert (told["by"], told["via"]) == ("dana", "open")


def test_tokens_are_made_shown_once_listed_and_revoked_while_it_serves(folder: Folder) -> None:
    with serving(folder.path, "desk:refunds") as server:
        made = folder.json(
            "token", "create", "dana", "--role", "reviewer", "--review-role", "finance", "--expires", "1d"
        )
        listed = folder.run("token", "list").stdout
        assert made["token"]["id"] in listed
        assert made["secret"] not in listed
        operator = folder.run("token", "create", "otto", "--role", "operator").stdout.strip().splitlines()[-1]
        with connect_sync(server.url) as nobody, pytest.raises(SignInNeeded):
            nobody.threads()
        with connect_sync(server.url, token=operator) as otto:
            outcome = otto.run("refunds", {"order": "big"}, thread="case-17")
            assert isinstance(outcome, Paused)
            with pytest.raises(RightMissing):
                otto.resolve(outcome.reviews[0], approve(by="otto"))
        with connect_sync(server.url, token=made["secret"]) as dana:
            dana.resolve("case-17", approve(by="dana"))
            folder.run("token", "revoke", made["token"]["id"])
            with pytest.raises(SignInNeeded):
                dana.threads()
    assert "revoked" in folder.run("token", "list").stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_listens_nowhere_else_before_there_is_a_token(folder: Folder, host: str) -> None:
    said = folder.run("serve", "desk:refunds", "--host", host, "--port", "0", ok=False)
    assert said.exit_code == 1
    assert "turnout token create" in said.stderr


def test_what_it_can_not_do_is_told_in_one_line(folder: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = folder.run("serve", "desk:refunds", "--port", port, ok=False)
    assert said.exit_code == 1
    assert f"port {port}" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert folder.run("serve", ok=False).exit_code == 1
    for words in (["token", "create", "dana", "--role", "king"], ["token", "create", "d", "--role", "admin", "--expires", "x"],
                  ["token", "revoke", "nothing"]):  # fmt: skip
        refused = folder.run(*words, ok=False)
        assert refused.exit_code == 1
        assert "Traceback" not in refused.stderr


def test_small_answers_are_not_held_back(folder: Folder) -> None:
    """asyncio has a socket send at once only where it is said to be TCP; else each answer may wait for 40 ms."""
    with listening("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_without_a_worker_it_takes_in_what_another_process_drives(folder: Folder) -> None:
    with serving(folder.path, "desk:refunds", "--no-worker") as server, connect_sync(server.url) as app:
        run = app.start("refunds", {"order": "A-1"}, thread="t")
        with pytest.raises(TimeoutError):
            app.wait(run, timeout=1.5)
        folder.run("worker", "desk:refunds", "--until-idle")
        assert isinstance(app.wait(run, timeout=20), Finished)


def test_it_ends_soon_though_a_stream_is_open_and_a_second_one_goes_on_where_it_was(folder: Folder) -> None:
    with serving(folder.path, "desk:both") as server:
        with connect_sync(server.url) as app:
            app.run("waits", {"order": "x"}, thread="t")
            stream = urllib.request.urlopen(f"{server.url}/api/v1/threads/t/events?after=0", timeout=20)
            seen = _ids(stream, 3)
            begun = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - begun < 8
            stream.close()
        server.start()
        with connect_sync(server.url) as app:
            asked = urllib.request.Request(
                f"{server.url}/api/v1/threads/t/events", headers={"Last-Event-ID": seen[-1]}
            )
            with urllib.request.urlopen(asked, timeout=20) as stream:
                app.signal("t", "goods-returned")
                assert _ids(stream, 1) == [f"t:{int(seen[-1].removeprefix('t:')) + 1}"]


def _ids(stream: Any, count: int) -> list[str]:
    found: list[str] = []
    for line in stream:
        if line.startswith(b"id: "):
            found.append(line[4:].decode().strip())
        if len(found) == count:
            break
    return found


def test_the_openapi_document_is_there_and_nothing_of_it_comes_from_elsewhere(folder: Folder) -> None:
    with (
        serving(folder.path, "desk:refunds", "--no-console") as server,
        urllib.request.urlopen(f"{server.url}/api/v1/openapi.json", timeout=20) as said,
    ):
        document = json.load(said)
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/api/v1"}]


def test_a_path_that_is_no_store_is_told(folder: Folder) -> None:
    said = folder.run("serve", "desk:refunds", "--store", f"sqlite:///{Path('no/where')}/x.db", ok=False)
    assert said.exit_code == 1
    assert "Traceback" not in said.stderr
