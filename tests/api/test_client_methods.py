"""The client's methods: those of the app, with the same arguments."""

import inspect

import pytest

from turnout import App
from turnout.client.remote import Remote
from turnout.sync import SyncApp


def methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


OF_THE_SERVER = {"within", "graph"}
"""What a caller of `App` alone needs: it hands out parts of the process."""


OPEN = {"run", "export_to", "import_from"}
"""They take the options of another call, whatever these are."""


@pytest.mark.parametrize("other", [Remote, SyncApp])
def test_the_client_and_the_blocking_app_have_the_apps_methods_with_their_arguments(other: type) -> None:
    app, has = methods(App), methods(other)
    assert app.keys() - OF_THE_SERVER <= has.keys()
    for name in app.keys() - OF_THE_SERVER - OPEN:
        wanted, given = app[name].parameters, has[name].parameters
        assert wanted.keys() <= given.keys(), name
        for part in wanted:
            assert (given[part].kind, given[part].default) == (wanted[part].kind, wanted[part].default), name


def test_what_the_blocking_client_hands_on_the_client_takes() -> None:
    for name in methods(SyncApp).keys() - OPEN:
        said = methods(SyncApp)[name]
        assert said.parameters.keys() <= methods(Remote)[name].parameters.keys(), name


def test_what_the_client_has_beyond_the_app_is_about_the_server() -> None:
    assert methods(Remote).keys() - methods(App).keys() == {"me", "graph_items"}
    assert methods(SyncApp).keys() - methods(App).keys() == set()
