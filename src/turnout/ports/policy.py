"""The policy port: what gives verdicts on calls."""

from __future__ import annotations

from typing import Protocol

from turnout.core.verdict import Question, Verdict


class Policy(Protocol):
    """A set of rules. It looks at nothing but the question: the same one always gets the same verdict."""

    @property
    def digest(self) -> str:
        """Of all rules: another one as soon as any of them says something else."""

    def decide(self, question: Question) -> Verdict:
        """The verdict. Never raises: what can't be decided is denied, with the error in it."""
