"""`turnout demo` from outside: what it says, what the ledger says, and whether what it tells to type works."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest

from turnout import open_app
from turnout.core import entries as e
from turnout.demo import batch, place, results
from turnout.demo import ledger as ledgers
from turnout.demo.desk import desk
from turnout.errors import SettingsInvalid
from turnout.stores import embedded_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.crash]

TURNOUT = Path(sys.executable).with_name("turnout")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("TURNOUT_", "PYTEST_", "COLUMNS"))}
PAID = {f"PR-20{n:02}" for n in (1, 2, 3, 5, 6, 7, 8, 10, 14, 17, 19, 20)}


def turnout(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = ENVIRONMENT | {"PATH": f"{TURNOUT.parent}{os.pathsep}{ENVIRONMENT['PATH']}"}
    return subprocess.run(
        [TURNOUT, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=90, check=False
    )


def ledger(folder: Path, name: str = "turnout-demo.ledger.db") -> Counter[str]:
    """How often each request was paid, by the bank's own file: plain SQL, nothing of Turnout's."""
    db = sqlite3.connect(folder / name)
    try:
        return Counter(request for (request,) in db.execute("SELECT request FROM payments"))
    finally:
        db.close()


def run_demo(folder: Path) -> str:
    done = turnout(folder, "demo", "--no-serve")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo(folder)


def test_the_demo_kills_a_working_process_and_tells_what_became_of_every_request(demo):
    folder, said = demo
    assert re.search(r"Killed \(SIGKILL\) with \d payments? in flight", said)
    assert "25 requests: 12 paid, 6 waiting, 6 rejected, 1 failed;" in said
    assert len(re.findall(r"^PR-20\d\d  ", said, re.M)) == 25
    assert "WRONG" not in said
    assert said.count("simulated") >= 2
    assert max(map(len, said.split("Type next")[0].splitlines())) <= 100
    assert not (folder / "turnout.db").exists()


def test_the_ledger_has_every_payment_once_whatever_turnout_says(demo):
    folder, _ = demo
    assert ledger(folder) == Counter(PAID)


async def test_writes_in_flight_at_the_kill_were_looked_into_and_every_thread_replays(demo):
    folder, said = demo
    in_flight = re.findall(r"^     (PR-\d+)  (the bank has booked|on its way)", said, re.M)
    assert in_flight
    async with open_app(
        f"sqlite:///{folder}/turnout-demo.db", graphs=[desk], work=False, create=False
    ) as app:
        for thread, how in in_flight:
            bodies = [entry.body for entry in await app.entries(thread)]
            looked = [x.outcome for x in bodies if isinstance(x, e.EffectSettled) and x.how == "reconcile"]
            sent = sum(isinstance(x, e.EffectIntended) for x in bodies)
            booked = how.startswith("the bank")
            assert (looked, sent) == ((["landed"], 1) if booked else (["did_not_happen"], 2))
        rows = await app.threads()
        assert len(rows) == 25
        assert [row.thread for row in rows if row.status == "failed"] == ["PR-2025"]
        for row in rows:
            replayed = await app.replay(row.thread)
            assert replayed.identical, (row.thread, replayed.divergence)
        assert {row.thread for row in rows if (await app.state(row.thread))["outcome"] == "paid"} == PAID
        assert not (await app.verify()).problems


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (
            "INSERT INTO payments (request, iban, cents, idempotency_key) VALUES ('PR-2001', 'x', 1, 'y')",
            "twice",
        ),
        ("DELETE FROM payments WHERE request = 'PR-2002'", "lost"),
        ("UPDATE payments SET request = 'PR-2011' WHERE request = 'PR-2003'", "unknown"),
    ],
)
async def test_the_proof_fails_when_the_ledger_says_otherwise(demo, tmp_path, tamper, found):
    folder, _ = demo
    shutil.copytree(folder, tmp_path / "copy")
    where = place.at(f"sqlite:///{tmp_path}/copy/turnout-demo.db")
    async with open_app(where.url, graphs=[desk], work=False, create=False) as app:
        before = await results.prove(app, where, lambda n: None)
        db = sqlite3.connect(where.ledger)
        db.execute(tamper)
        db.commit()
        db.close()
        after = await results.prove(app, where, lambda n: None)
    assert before.holds
    assert not after.holds
    assert getattr(after, found, None) or getattr(after.audit, found)


def test_every_command_that_the_demo_says_to_type_works(tmp_path):
    said = run_demo(tmp_path)
    commands = [shlex.split(line) for line in re.findall(r"^   (turnout .*)$", said, re.M)]
    verbs = [command[1] for command in commands]
    assert verbs == ["reviews", "approve", "edit", "explain", "replay", "verify"]
    printed = {}
    for command in commands:
        done = turnout(tmp_path, *command[1:])
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        printed[command[1]] = done.stdout
    assert len(set(re.findall(r"rev-[0-9a-f]{12}", printed["reviews"]))) == 6
    assert ledger(tmp_path) == Counter(PAID | {"PR-2004"})  # what was approved is paid, once
    assert "PR-20" in printed["explain"]
    assert "send_payment" in printed["explain"]
    assert "landed, says the tool's reconcile" in printed["explain"]  # how it is known, after the crash
    assert "identical" in printed["replay"]
    # What was clarified went through the checks again, and now waits for a yes: PR-2015, 200 euros.
    waiting = turnout(tmp_path, "reviews", "--store", "sqlite:///turnout-demo.db").stdout
    assert "200.00 EUR" in waiting


def test_the_demo_ends_in_the_console_at_one_address_and_goes_on_there_until_ctrl_c(tmp_path):
    command = [TURNOUT, "demo", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "Ctrl-C ends it" in line:
                break
        [address] = re.findall(r"http://\S+", said)
        second = turnout(tmp_path, "demo", "--no-serve")
        assert second.returncode == 1
        assert (
            f"turnout-demo.db is in use by another demo (process {process.pid}, {address})" in second.stderr
        )
        assert second.stderr.count("\n") == 1
        with httpx.Client(base_url=address, timeout=20) as client:
            page = client.get("/threads").text
            for status in ("finished", "waiting", "failed"):
                assert f"is-{status}" in page
            [recovered] = re.findall(r"^     (PR-\d+)  the bank has booked", said, re.M)[:1]
            assert "Recovered." in client.get(f"/threads/{recovered}").text
            [review] = re.findall(r"(rev-\w+)  Pay 18,400.00 EUR", said)
            page = client.get(f"/reviews/{review}").text
            marks = {
                name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("csrf", "shown")
            }
            form = {**marks, "decision": "approve", "by": "dana"}
            assert client.post(f"/reviews/{review}", data=form).status_code == 303
            give_up = time.monotonic() + 20
            while (now := client.get("/threads/PR-2004/pulse").json()["status"]) != "finished":
                assert time.monotonic() < give_up, now
                time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""
    assert ledger(tmp_path) == Counter(PAID | {"PR-2004"})


def test_a_second_demo_starts_fresh_and_fits_a_terminal(tmp_path):
    run_demo(tmp_path)
    theirs = tmp_path / "turnout.db"
    theirs.write_bytes(b"somebody's work")
    said = on_a_terminal(tmp_path)
    assert "25 requests: 12 paid, 6 waiting, 6 rejected, 1 failed;" in said
    assert ledger(tmp_path) == Counter(PAID)
    assert theirs.read_bytes() == b"somebody's work"


def test_a_demo_that_was_killed_keeps_no_other_off_its_place(tmp_path):
    """And one that lives does: the store was deleted under a demo that still served."""
    where = place.at(f"sqlite:///{tmp_path}/turnout-demo.db")
    code = (
        "import sys, time; from turnout.demo import place\n"
        "with place.held(place.at(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, where.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            words = rf"in use by another demo \(process {process.pid}\)"
            with pytest.raises(SettingsInvalid, match=words), place.held(where):
                pass
        finally:
            process.kill()
    with place.held(where):
        pass


def on_a_terminal(folder: Path) -> str:
    """What the demo prints on a terminal of 100 columns, without colours."""
    parent, child = pty.openpty()
    env = ENVIRONMENT | {"COLUMNS": "100", "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [TURNOUT, "demo", "--no-serve"], cwd=folder, env=env, stdout=child, stderr=child
    )
    os.close(child)
    said = b""
    try:
        while piece := os.read(parent, 65536):
            said += piece
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(parent)
    assert process.wait(timeout=60) == 0
    text = said.decode()
    assert "\x1b[" in text  # colours and the progress line
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("what", ["text", "database", "store", "store beside a demo's ledger"])
def test_a_file_that_is_not_a_demo_store_is_left_as_it_is(tmp_path, what):
    path = tmp_path / "mine.db"
    if what == "text":
        path.write_text("dear diary")
    elif what == "database":
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE t (x)")
        db.close()
    else:
        done = turnout(tmp_path, "new", "mine")
        assert done.returncode == 0
        done = turnout(
            tmp_path / "mine", "run", "mine.graph:graph", "--store", f"sqlite:///{path}",
            "--input", '{"customer": "ada", "message": "hello"}',
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    beside = what.endswith("ledger")
    if beside:
        ledgers.create(tmp_path / "mine.ledger.db", batch.load())
    before = path.read_bytes()
    done = turnout(tmp_path, "demo", "--store", "sqlite:///mine.db")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "wasn't made by the demo" in done.stderr
    assert path.read_bytes() == before
    assert (tmp_path / "mine.ledger.db").exists() is beside


@pytest.mark.parametrize(
    "url", ["sqlite:///turnout.db", "sqlite://", "mysql://x", "sqlite:///no/such/folder.db"]
)
def test_an_address_that_the_demo_cannot_use_is_refused_in_one_line(tmp_path, url):
    done = turnout(tmp_path, "demo", "--store", url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_demo_runs_on_a_real_postgres_and_what_it_tells_to_type_works(tmp_path: Path) -> None:
    done = turnout(tmp_path, "demo", "--store", "postgres", "--no-serve")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "an embedded Postgres" in done.stdout
    assert "25 requests: 12 paid, 6 waiting, 6 rejected, 1 failed;" in done.stdout
    assert "WRONG" not in done.stdout
    assert ledger(tmp_path) == Counter(PAID)
    said = re.search(r"^   \S*turnout (explain PR-\d+ --store \S+)$", done.stdout, re.M)
    assert said is not None
    assert "postgres:demo" in said[1]
    assert "paid" in turnout(tmp_path, *shlex.split(said[1])).stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with psycopg.connect(
        embedded_postgres.own().make("demo")
    ):  # as a demo in another folder is, while it serves
        done = turnout(elsewhere, "demo", "--store", "postgres", "--no-serve")
    assert done.returncode == 1
    assert "postgres:demo is in use by another process" in done.stderr
    assert "paid" in turnout(tmp_path, *shlex.split(said[1])).stdout


def test_the_demo_takes_no_postgres_that_is_somebody_s(tmp_path: Path) -> None:
    done = turnout(tmp_path, "demo", "--store", "postgresql://dana@127.0.0.1:1/books")
    assert done.returncode == 1
    assert "--store postgres, which starts one" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_while_the_demo_watches_nobody_is_the_last_to_close_the_ledger(tmp_path: Path) -> None:
    """Who is the last locks the file, and may be stopped by the demo right then: the demo waited for it in vain."""
    path = tmp_path / "bank.ledger.db"
    ledgers.create(path, batch.load())
    with ledgers.kept_open(path):
        ledgers.pay(str(path), "PR-2001", "DE1", 5, "k-1")
        assert path.with_name(path.name + "-wal").exists()
    assert not path.with_name(path.name + "-wal").exists()
    assert ledgers.audit(path).paid == {"PR-2001": 1}
