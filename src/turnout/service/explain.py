"""Explain (being written)."""

from dataclasses import dataclass


@dataclass
class Report: ...


def report(row, entries, reviews): ...
