"""`turnout` under Python's profiler: `profiled.py FILE serve ...` writes what its event loop did there when it ends."""

from __future__ import annotations

import cProfile
import sys

from turnout.cli.main import main

if __name__ == "__main__":
    file = sys.argv.pop(1)
    profile = cProfile.Profile()
    try:
        profile.runcall(main, standalone_mode=False)
    finally:
        profile.dump_stats(file)
