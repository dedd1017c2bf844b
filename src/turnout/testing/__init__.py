"""For the tests of graphs: a scripted model, a virtual clock, an app in memory with strict mode on.

from turnout.testing import ScriptedModel, open_test_app

async def test_small_refunds_are_paid():
    async with open_test_app(graphs=[refunds]) as app:
        outcome = await app.run("refunds", {"order": "A-17"})
"""

from turnout.testing.app import open_test_app
from turnout.testing.clock import SeededChance, VirtualClock
from turnout.testing.model import ScriptedModel

__all__ = ["ScriptedModel", "SeededChance", "VirtualClock", "open_test_app"]
