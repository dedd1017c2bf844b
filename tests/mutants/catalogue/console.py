"""Mutants of the console."""

from __future__ import annotations

from tests.mutants.mutant import mutant
from tests.mutants.patching import rewrite

from turnout.console import frame
from turnout.console import reviews as console_reviews


@mutant(
    13,
    "tests/console/test_pages.py::test_no_page_has_a_script_a_style_or_a_handler_of_its_own_whatever_it_shows",
)
def pages_take_text_for_markup() -> None:
    """What a payload says becomes part of the page."""
    rewrite(frame.Frame.__init__, ("autoescape=True", "autoescape=False"))


@mutant(13, "tests/console/test_access.py::test_a_form_of_another_site_changes_nothing[False-headers1-form1]")
def forms_need_no_mark() -> None:
    """Where nobody signs in, a form that comes from none of our pages is taken."""
    rewrite(frame.Frame._visit, ("if changes and not (", "if False and not ("))


@mutant(13, "tests/console/test_decisions.py::test_who_comes_second_is_shown_the_first_decision")
def pages_lose_the_first_decision() -> None:
    """Who comes second isn't told what holds."""
    rewrite(console_reviews.decide, ("late=True", "late=False"))
