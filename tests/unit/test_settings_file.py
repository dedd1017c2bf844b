"""turnout.toml: what it may say, and how a mistake in it is told."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from turnout import settings_file
from turnout.core.messages import MOST_TOKENS, Usage
from turnout.errors import SettingsInvalid
from turnout.models import prices
from turnout.models.schema import Alias, Cache, Deployment, Fallbacks, ModelSettings, PriceRow

FILE = """\
# models of this project
[deployments.mini]
provider = "openai"
model = "gpt-4o-mini"
key_env = "OPENAI_API_KEY"
price = { input = 0.15, output = 0.60 }
options = { temperature = 0.2 }

[deployments."claude.eu"]
provider = "anthropic"
model = "claude-sonnet-5"
key_env = "ANTHROPIC_API_KEY"

[models.main]
deployments = ["mini", "claude.eu"]
fallbacks = { context_window = ["long"] }

[models.long]
deployments = [{ name = "claude.eu", weight = 1 }]
"""


def settings(tmp_path: Path, text: str) -> ModelSettings:
    path = tmp_path / "turnout.toml"
    path.write_text(text)
    return settings_file.check(settings_file.read(path), ModelSettings)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsInvalid) as error:
        settings(tmp_path, text)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_a_file_is_read_as_what_it_says(tmp_path):
    found = settings(tmp_path, FILE)
    assert found.deployments["mini"].price.input == Decimal("0.15")
    assert found.deployments["mini"].options == {"temperature": 0.2}
    assert [share.name for share in found.models["main"].deployments] == ["mini", "claude.eu"]
    assert (found.models["main"].weighted, found.models["long"].weighted) == (False, True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "gpt-4o-mini"', 'modle = "gpt-4o-mini"', "turnout.toml:4: deployments.mini has no 'modle'; did you mean 'model'?"),
        ('key_env = "OPENAI_API_KEY"', 'api_key = "sk-secret"', "turnout.toml:5: deployments.mini has no 'api_key'; keys don't belong in the file"),
        ("output = 0.60", "outputs = 0.60", "turnout.toml:6: deployments.mini.price has no 'outputs'; did you mean 'output'?"),
        ("weight = 1", "wieght = 1", "turnout.toml:19: models.long.deployments.0 has no 'wieght'; did you mean 'weight'?"),
        ("context_window", "contextwindow", "turnout.toml:16: models.main.fallbacks has no 'contextwindow'; did you mean 'context_window'?"),
        ("[models.main]", "[model.main]", "turnout.toml:14: the file has no 'model'; did you mean 'models'?"),
        ('"mini", "claude.eu"]', '"mimi", "claude.eu"]', "model 'main' names the deployment 'mimi'; did you mean 'mini'?"),
        ('["long"]', '["lang"]', "model 'main' falls back to the model 'lang'; did you mean 'long'?"),
        ('["long"]', '["main"]', "model 'main' falls back to itself"),
        ('provider = "openai"', 'provider = "opnai"', "turnout.toml:3: deployments.mini.provider: Input should be 'openai', 'azure' or 'anthropic'"),
        ('provider = "openai"', 'provider = "azure"', "azure needs base_url"),
        ("input = 0.15", "input = -1", "turnout.toml:6: deployments.mini.price.input: "),
        ("input = 0.15", "input = 1_000_000.5", "turnout.toml:6: deployments.mini.price.input: Input should be less than or equal to 1000000"),
        ("output = 0.60", "output = 1e999999", "turnout.toml:6: deployments.mini.price.output: Input should be less than or equal to 1000000"),
        ("output = 0.60", "output = 1e99999999999999999999", "turnout.toml has a number with an exponent that is too large"),
        ('"mini", "claude.eu"]', '"mini", "mini"]', "deployments names one twice"),
        ('"mini", "claude.eu"]', '{ name = "mini", weight = 2 }, "claude.eu"]', "give all deployments a weight"),
        ('model = "gpt-4o-mini"', 'model = "m"\nbase_url = "http://me:pw@host/v1"', "keys don't belong in the file"),
        ('model = "gpt-4o-mini"', 'model = "m"\nheaders = { Authorization = "Bearer x" }', "name an environment variable in headers_env"),
        ('model = "gpt-4o-mini"', 'model = "m', "turnout.toml:4: it is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(tmp_path, old, new, said):
    assert old in FILE
    assert said in refused(tmp_path, FILE.replace(old, new))


def test_what_the_longest_call_costs_at_the_dearest_price_can_be_kept_by_a_store(tmp_path):
    found = settings(tmp_path, FILE.replace("0.15, output = 0.60", "1_000_000, output = 1_000_000"))
    usage = Usage(input_tokens=MOST_TOKENS, output_tokens=MOST_TOKENS, cache_write_tokens=MOST_TOKENS)
    _, micros = prices.cost(found.deployments["mini"], "gpt-4o-mini", usage, 0)
    assert 0 < micros < 2**63


def test_all_mistakes_are_told_at_once(tmp_path):
    text = FILE.replace("model = ", "modle = ").replace("weight", "wieght")
    assert (
        len(refused(tmp_path, text).splitlines()) == 5
    )  # two without a model, two that say modle, one weight


def test_a_secret_that_was_put_into_the_file_is_not_repeated(tmp_path):
    said = refused(tmp_path, FILE.replace('key_env = "OPENAI_API_KEY"', 'api_key = "sk-very-secret"'))
    assert "sk-very-secret" not in said
    said = refused(tmp_path, FILE.replace('key_env = "OPENAI_API_KEY"', 'key_env = "sk-very-secret"'))
    assert "sk-very-secret" not in said


def test_the_file_is_the_one_that_is_named_or_that_of_the_folder(tmp_path):
    assert settings_file.find({}, tmp_path) is None
    (tmp_path / "turnout.toml").write_text("")
    assert settings_file.find({}, tmp_path) == tmp_path / "turnout.toml"
    assert settings_file.find({"TURNOUT_CONFIG": "/etc/other.toml"}, tmp_path) == Path("/etc/other.toml")
    with pytest.raises(SettingsInvalid, match="can't be read"):
        settings_file.read(Path("/etc/no/such/turnout.toml"))


def test_every_key_of_the_file_is_in_its_reference():
    page = (Path(__file__).parents[2] / "docs/turnout-toml.md").read_text()
    for section in (Deployment, Alias):
        for key, field in section.model_fields.items():
            assert f"| `{key}` |" in page, key
            default = field.default
            if isinstance(default, float) and default == int(default):
                assert f"| `{key}` | `{int(default)}` |" in page
            elif isinstance(default, int) and not isinstance(default, bool):
                assert f"| `{key}` | `{default}` |" in page
    for section in (Fallbacks, Cache, PriceRow):
        assert all(re.search(rf"\b{key}\b", page) for key in section.model_fields)
