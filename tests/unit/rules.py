"""Rules for tests: a folder with them in it, and the tools that they are about."""

from pathlib import Path

PAY = """
@id("look") permit(principal, action == Action::"call", resource is Tool) when { resource.effect != "write" };
@id("small") permit(principal, action == Action::"call", resource == Tool::"pay") when { context.args.amount <= 100 };
@id("big") @review("finance") @reason("over 100")
permit(principal, action == Action::"call", resource == Tool::"pay") when { context.args.amount > 100 };
@id("never") @reason("over the limit")
forbid(principal, action, resource == Tool::"pay") when { context.args.amount > 1000 };
"""


def folder(path: Path, text: str = PAY, name: str = "policies") -> Path:
    """A folder of rules."""
    place = path / name
    place.mkdir(exist_ok=True)
    (place / "rules.cedar").write_text(text)
    return place
