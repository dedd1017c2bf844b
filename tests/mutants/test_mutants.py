"""Every mutant turns its tests red (`make mutants` shows the same as a table), and the tool itself tells the truth."""

from collections import Counter

import pytest
from tests.mutants.catalogue import MUTANTS
from tests.mutants.patching import Stale, rewrite
from tests.mutants.run import Result, green_without, judge, main

SHORT = [
    "unclaimed-write-does-not-stop",
    "epoch-is-not-checked",
    "merge-conflict-is-ignored",
    "chain-does-not-cover-the-body",
]


def named(name):
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_a_broken_guarantee_turns_its_tests_red(name):
    result = judge(named(name))
    assert (result.verdict, result.detail) == ("found", "")


def test_the_same_tests_are_green_when_nothing_is_broken():
    assert green_without([named(name) for name in SHORT]) == []


def test_every_promise_has_two_mutants_or_more():
    count = Counter(mutant.promise for mutant in MUTANTS)
    assert sorted(count) == list(range(1, 14))
    assert min(count.values()) >= 2
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_mutant_that_changes_nothing_is_said_to_live():
    from dataclasses import replace

    wrong = replace(named("chain-does-not-cover-the-body"), tests=named("merge-conflict-is-ignored").tests)
    result = judge(wrong)
    assert isinstance(result, Result)
    assert result.verdict == "lives"
    assert "not red" in result.detail


def plain(x):
    return x + 1


def test_a_mutant_whose_source_has_changed_says_so():
    with pytest.raises(Stale, match="plain has 0 times"):
        rewrite(plain, ("x + 2", "x"))
    rewrite(plain, ("x + 1", "x + 10"))
    assert plain(1) == 11


def test_an_unknown_mutant_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nonsense"])
    assert "no such mutant" in capsys.readouterr().err
