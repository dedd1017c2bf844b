"""`turnout models`: the file as it is, its mistakes, and whether anybody answers."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests.models.calls import alias, deployment, written

from turnout.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TURNOUT_CONFIG", raising=False)

    def call(*args):
        return CliRunner().invoke(main, ["models", *args])

    return call


def test_without_a_file_it_says_where_models_come_from(run):
    said = run()
    assert said.exit_code == 0
    assert "open_app(models=...)" in said.stdout


def test_a_right_file_without_deployments_is_said_to_be_one(run, tmp_path):
    """It said that there was no such file, and somebody looked for it elsewhere."""
    (tmp_path / "turnout.toml").write_text("[serve]\nrate = 5\n")
    said = run()
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith("turnout.toml is right, and has no deployments; ")
    assert "[deployments.NAME]" in said.stdout
    assert json.loads(run("--json").stdout) == {"deployments": [], "models": []}


def test_it_shows_what_the_file_has_and_which_key_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.delenv("MODEL_KEY", raising=False)
    written(
        tmp_path,
        deployment("a", "http://127.0.0.1:9/v1", "chat", requests_per_minute="60"),
        alias("main", "a", fallbacks='{ context_window = ["long"] }', cache="{ seconds = 60 }"),
        alias("long", "a"),
    )
    found = json.loads(run("--json").stdout)
    [a] = found["deployments"]
    assert (a["name"], a["missing"], a["requests_per_minute"]) == ("a", ["MODEL_KEY"], 60)
    assert (a["input"], a["output"]) == ("0.15", "0.6")
    assert found["models"][0]["fallbacks"] == {"context_window": ["long"]}
    shown = run().stdout
    assert "MODEL_KEY" in shown
    assert "context_window: long" in shown
    assert "60 requests" in shown


def test_each_mistake_is_told_on_a_line_of_its_own(run, tmp_path):
    path = written(tmp_path, deployment("a", "http://x/v1", "chat", timout="5"), alias("main", "b"))
    said = run("--config", str(path))
    assert said.exit_code == 1
    assert "timout" in said.stderr
    assert "did you mean 'timeout'?" in said.stderr


def test_ping_asks_every_deployment_and_fails_when_one_does_not_answer(run, tmp_path, upstream, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "sk-x")
    upstream.play()
    written(tmp_path, deployment("a", f"{upstream.url}/v1", "chat"), alias("main", "a"))
    said = run("--ping")
    assert said.exit_code == 0, said.output
    assert "a: answered in" in said.stdout
    assert len(upstream.requests()) == 1
    written(
        tmp_path,
        deployment("a", f"{upstream.url}/v1", "chat"),
        deployment("b", "http://127.0.0.1:9/v1", "chat"),
        alias("main", "a", "b"),
    )
    said = run("--ping", "--json")
    assert said.exit_code == 1
    assert [ping["error"].split(":")[0] for ping in json.loads(said.stdout)["pings"]] == [
        "",
        "ModelUnavailable",
    ]
