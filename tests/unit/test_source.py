"""The canonical text of a node's code, and the warnings about what replay can't see in it.

Every test reads real code: a module that is written to a file and imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.core import source
from turnout.core.source import SourceWarning, fingerprint, normalised, source_warnings

Load = Callable[..., ModuleType]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Write a module and import it. `files` are further modules that it can import: `a__b` is `a/b.py`."""
    loaded: list[str] = []

    def load(text: str, /, **files: str) -> ModuleType:
        folder = tmp_path_factory.mktemp("code")
        for name, content in files.items():
            target = folder / (name.replace("__", "/", 1) + ".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(content))
        name = f"case_{next(_numbers)}"
        path = folder / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loaded.append(name)
        with _importable(folder, {file.partition("__")[0] for file in files}):
            spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


@contextmanager
def _importable(folder: Path, names: set[str]) -> Iterator[None]:
    """For a moment `names` are the modules in `folder`, whatever else is installed under these names."""

    def taken() -> dict[str, ModuleType]:
        there = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}
        importlib.invalidate_caches()
        return there

    others = taken()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        taken()
        sys.modules.update(others)


GRAPH = '''
class Graph:
    """A stand-in: only registers."""
    def node(self, fn=None, **options):
        return fn if fn is not None else lambda fn: fn
graph = Graph()
'''


def text_of(load: Load, code: str, name: str = "node", **files: str) -> str:
    return normalised(getattr(load(code, **files), name))


def found(load: Load, code: str, name: str = "node", **files: str) -> list[str]:
    """What is found in `node`, each as `line: text`."""
    warnings = source_warnings(getattr(load(code, **files), name))
    return [f"{w.line}: {w.found}" for w in warnings]


def body(code: str, imports: str = "") -> str:
    """A module with a node that does `code`."""
    return f"{imports}\nasync def node(state, ctx):\n{textwrap.indent(textwrap.dedent(code), '    ')}\n"


# --- the canonical text -----------------------------------------------------------------------------------

PLAIN = """
LIMIT = 5
def helper(n):
    return n + LIMIT
async def node(state, ctx):
    total = 0
    for item in state.items:
        if item > 3:
            total += helper(item)
        else:
            total -= 1
    def inner(x):
        return f"{x!r:>{total}} of {total}"
    return {"total": inner(total), "why": ["a", "b"]}
"""

SAME = {
    "comments": PLAIN.replace("total = 0", "# why\n    total = 0  # zero"),
    "blank lines": PLAIN.replace("    total = 0", "\n\n    total = 0\n\n"),
    "spaces and brackets": PLAIN.replace("total = 0", "total=(0)").replace("item > 3", "(item>3)"),
    "line breaks": PLAIN.replace('["a", "b"]', '[\n        "a",\n        "b",\n    ]'),
    "other quotes": PLAIN.replace('"why"', "'why'"),
    "another way to write a number": PLAIN.replace("item > 3", "item > 0x3"),
    "a docstring": PLAIN.replace("ctx):\n", 'ctx):\n    """Says what it does."""\n'),
    "a docstring of an inner function": PLAIN.replace("inner(x):\n", 'inner(x):\n        """Doc."""\n'),
    "a docstring of a helper": PLAIN.replace("helper(n):\n", "helper(n):\n    'Doc.'\n"),
    "pass": PLAIN.replace("total = 0\n", "total = 0\n    pass\n"),
    "registering": GRAPH + PLAIN.replace("async def node", "@graph.node\nasync def node"),
    "registering with options": GRAPH
    + PLAIN.replace("async def node", "@graph.node(\n    name='n',\n)\nasync def node"),
    "a constant that is written another way": PLAIN.replace("LIMIT = 5", "LIMIT = 2 + 3"),
    "an unused constant": "OTHER = 1\n" + PLAIN,
    "an unused helper": PLAIN + "\ndef other(): return 1\n",
    "another place in the file": PLAIN.replace("LIMIT", "# moved\n\n\n\nLIMIT", 1),
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME.keys())
def test_how_the_code_looks_does_not_count(load: Load, code: str) -> None:
    assert text_of(load, code) == text_of(load, PLAIN)


CHANGED = {
    "a number": PLAIN.replace("total = 0", "total = 1"),
    "a number's type": PLAIN.replace("total = 0", "total = 0.0"),
    "true for one": PLAIN.replace("total -= 1", "total -= True"),
    "a text": PLAIN.replace('"a", "b"', '"a", "c"'),
    "an operator": PLAIN.replace("item > 3", "item >= 3"),
    "the sign of an addition": PLAIN.replace("total += helper", "total -= helper"),
    "the order of two things": PLAIN.replace('"a", "b"', '"b", "a"'),
    "an f-string's format": PLAIN.replace("!r:>", "!s:>"),
    "an f-string's text": PLAIN.replace(" of ", " von "),
    "a constant that it reads through a helper": PLAIN.replace("LIMIT = 5", "LIMIT = 6"),
    "a helper": PLAIN.replace("n + LIMIT", "n - LIMIT"),
    "sync for async": PLAIN.replace("async def", "def"),
    "a parameter": PLAIN.replace("state, ctx", "state, ctx, more=None"),
    "another decorator": PLAIN.replace(
        "async def node", "def twice(fn):\n    return fn\n@twice\nasync def node"
    ),
    "a returned key": PLAIN.replace('"why"', '"because"'),
}


@pytest.mark.parametrize("code", CHANGED.values(), ids=CHANGED.keys())
def test_what_the_code_does_counts(load: Load, code: str) -> None:
    assert text_of(load, code) != text_of(load, PLAIN)


LINES = PLAIN.strip().split("\n")
NOISE = st.sampled_from(["", "   ", "# note", "        # note", '# \'quotes\' """ and (', "\t"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_comments_blank_lines_and_docstrings_never_count(load: Load, data: st.DataObject) -> None:
    lines: list[str] = []
    for line in LINES:
        lines += data.draw(st.lists(NOISE, max_size=2))
        trailing = data.draw(st.sampled_from(["", "  # note", " "]))
        lines.append(line + trailing)
        if line.lstrip().startswith(("def ", "async def ")) and data.draw(st.booleans()):
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            words = data.draw(
                st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\0'), max_size=20)
            )
            lines.append(f'{indent}"""{words} """')
    assert text_of(load, "\n".join(lines)) == text_of(load, PLAIN)


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_two_functions_have_one_text_exactly_when_they_say_the_same(load: Load, numbers: list[int]) -> None:
    a, b, c, d = numbers
    one = text_of(load, f"K = {a}\ndef node(state, ctx):\n    return K + {b}")
    two = text_of(load, f"K = {c}  # k\ndef node(state, ctx):\n\n    return (K + {d})")
    assert (one == two) == ((a, b) == (c, d))


PAIRS = {
    "a default": ("D = 1\ndef node(s, c, d=D): return d", "D = 2\ndef node(s, c, d=D): return d"),
    "a keyword default": ("D = 1\ndef node(s, *, d=D): return d", "D = 2\ndef node(s, *, d=D): return d"),
    "a closure variable": (
        "def make(n):\n def node(s): return n\n return node\nnode = make(1)",
        "def make(n):\n def node(s): return n\n return node\nnode = make(2)",
    ),
    "a tuple": ("T = (1, ('a', None))\ndef node(s): return T", "T = (1, ('b', None))\ndef node(s): return T"),
    "a frozenset": (
        "T = frozenset({1, 2})\ndef node(s): return T",
        "T = frozenset({1, 3})\ndef node(s): return T",
    ),
    "a computed constant": (
        "A = 1\nT = A * 2\ndef node(s): return T",
        "A = 2\nT = A * 2\ndef node(s): return T",
    ),
    "a dict of prompts": (
        "P = {'a': 'x'}\ndef node(s): return P['a']",
        "P = {'a': 'y'}\ndef node(s): return P['a']",
    ),
    "an annotated dict": (
        "P: dict = {'a': 'x'}\ndef node(s): return P['a']",
        "P: dict = {'a': 'y'}\ndef node(s): return P['a']",
    ),
    "an item that is added to a dict": (
        "P = {}\nP['a'] = 'x'\ndef node(s): return P['a']",
        "P = {}\nP['a'] = 'y'\ndef node(s): return P['a']",
    ),
    "a pattern": (
        "import re\nP = re.compile('a')\ndef node(s): return P",
        "import re\nP = re.compile('b')\ndef node(s): return P",
    ),
    "what a dict of prompts is made of": (
        "A = 'x'\nP = {'a': [A]}\ndef node(s): return P['a']",
        "A = 'y'\nP = {'a': [A]}\ndef node(s): return P['a']",
    ),
    "the helper in a partial": (
        "from functools import partial\ndef f(n): return n\ng = partial(f, 1)\ndef node(s): return g()",
        "from functools import partial\ndef f(n): return -n\ng = partial(f, 1)\ndef node(s): return g()",
    ),
    "the base of a class": (
        "class A:\n x: int = 1\nclass B(A): ...\ndef node(s): return B()",
        "class A:\n x: int = 2\nclass B(A): ...\ndef node(s): return B()",
    ),
    "the fields of a class": (
        "class A:\n x: int = 1\ndef node(s): return A()",
        "class A:\n x: int = 2\ndef node(s): return A()",
    ),
    "the docstring of a class, which a model may be shown": (
        "class A:\n 'One.'\ndef node(s): return A()",
        "class A:\n 'Two.'\ndef node(s): return A()",
    ),
    "a constant read in an inner function": (
        "K = 1\ndef node(s):\n def f(): return K\n return f()",
        "K = 2\ndef node(s):\n def f(): return K\n return f()",
    ),
    "a constant read in a comprehension": (
        "K = 1\ndef node(s): return [K for _ in s]",
        "K = 2\ndef node(s): return [K for _ in s]",
    ),
    "a helper of a helper": (
        "def b(): return 1\ndef a(): return b()\ndef node(s): return a()",
        "def b(): return 2\ndef a(): return b()\ndef node(s): return a()",
    ),
    "a helper that is passed on": (
        "def a(x): return 1\ndef node(s): return sorted(s, key=a)",
        "def a(x): return 2\ndef node(s): return sorted(s, key=a)",
    ),
    "a helper that is a lambda": (
        "a = lambda x: 1\ndef node(s): return a(s)",
        "a = lambda x: 2\ndef node(s): return a(s)",
    ),
    "a cached helper": (
        "from functools import cache\n@cache\ndef a(): return 1\ndef node(s): return a()",
        "from functools import cache\n@cache\ndef a(): return 2\ndef node(s): return a()",
    ),
    "the argument of a decorator": (
        "def times(n): return lambda fn: fn\n@times(1)\ndef node(s): return 1",
        "def times(n): return lambda fn: fn\n@times(2)\ndef node(s): return 1",
    ),
    "a constant in the argument of a decorator": (
        "N = 1\ndef times(n): return lambda fn: fn\n@times(N)\ndef node(s): return 1",
        "N = 2\ndef times(n): return lambda fn: fn\n@times(N)\ndef node(s): return 1",
    ),
    "what is wrapped, without functools.wraps": (
        "def deco(fn):\n def inner(s): return fn(s)\n return inner\n@deco\ndef node(s): return 1",
        "def deco(fn):\n def inner(s): return fn(s)\n return inner\n@deco\ndef node(s): return 2",
    ),
    "what wraps, with functools.wraps": (
        "import functools\ndef deco(fn):\n @functools.wraps(fn)\n def inner(s): return fn(s)\n"
        " return inner\n@deco\ndef node(s): return 1",
        "import functools\ndef deco(fn):\n @functools.wraps(fn)\n def inner(s): return -fn(s)\n"
        " return inner\n@deco\ndef node(s): return 1",
    ),
    "what is wrapped by a decorator of another module": (
        "from theirs import deco\n@deco\ndef node(s): return 1",
        "from theirs import deco\n@deco\ndef node(s): return 2",
    ),
    "an imported constant": (
        "from mine_a import K\ndef node(s): return K",
        "from mine_b import K\ndef node(s): return K",
    ),
    "the type of an exception": (
        "def node(s):\n try: return 1\n except ValueError: return 2",
        "def node(s):\n try: return 1\n except KeyError: return 2",
    ),
    "the pattern of a match": (
        "def node(s):\n match s:\n  case None: return 2",
        "def node(s):\n match s:\n  case True: return 2",
    ),
    "a dict that is unpacked": ("def node(s): return {**s, 'a': 1}", "def node(s): return {'a': 1, **s}"),
}


@pytest.mark.parametrize(("before", "after"), PAIRS.values(), ids=PAIRS.keys())
def test_what_the_function_reads_counts(load: Load, before: str, after: str) -> None:
    deco = "def deco(fn):\n    def inner(s): return fn(s)\n    return inner"
    files = {"mine_a": "K = 1", "mine_b": "K = 2", "theirs": deco}
    assert text_of(load, before, **files) == text_of(load, before, **files)
    assert text_of(load, before, **files) != text_of(load, after, **files)


def test_helpers_that_call_each_other_end(load: Load) -> None:
    code = "def a(n): return b(n)\ndef b(n): return a(n - {})\ndef node(s): return a(s) or node(s)"
    assert text_of(load, code.format(1)) == text_of(load, code.format(1))
    assert text_of(load, code.format(1)) != text_of(load, code.format(2))


def test_a_helper_under_two_names_counts_under_both(load: Load) -> None:
    code = "from theirs import g\ndef f(s): return 1\na, b = f, {}\ndef node(s): return a(s), b(s)"
    files = {"theirs": "def g(s): return 1"}
    texts = {text_of(load, code.format(name), **files) for name in ("f", "f  # note", "g")}
    assert len(texts) == 2


def test_long_chains_of_helpers_and_of_branches_fit_into_the_stack(load: Load) -> None:
    helpers = "".join(f"def h{n}(s): return h{n + 1}(s)\n" for n in range(1500))
    branches = "".join(f"    elif s == {n}: return {n}\n" for n in range(300))
    last = f"def h1500(s):\n    if s: pass\n{branches}    return time.time(), {{}}\n"
    code = f"import time\n{helpers}{last}node = h0"
    assert text_of(load, code.format(1)) != text_of(load, code.format(2))
    assert found(load, code.format(1)) == ["1804: time.time()"]


def test_the_order_of_a_frozenset_does_not_count(load: Load) -> None:
    one = "T = frozenset(['a', 'b', 'c', 'd'])\ndef node(s): return T"
    two = "T = frozenset(['d', 'c', 'b', 'a'])\ndef node(s): return T"
    assert text_of(load, one) == text_of(load, two)


def test_spaces_in_a_quoted_annotation_do_not_count(load: Load) -> None:
    one = "def node(s: 'dict[str,int]') -> 'int': return 1"
    two = "def node(s: 'dict[str, int]') -> ' int': return 1"
    other = "def node(s: 'dict[str, str]') -> 'int': return 1"
    assert text_of(load, one) == text_of(load, two) != text_of(load, other)


def test_a_text_as_annotation_that_is_no_expression_is_kept(load: Load) -> None:
    one, two = "def node(s: 'any thing'): return 1", "def node(s: 'another thing'): return 1"
    assert text_of(load, one) == text_of(load, one) != text_of(load, two)


def test_a_closure_variable_without_a_value_yet_is_left_out(load: Load) -> None:
    code = "def make():\n def node(s): return later\n text = normalised(node)\n later = 1\n return text, node"
    early, node = load("from turnout.core.source import normalised\n" + code).make()
    assert normalised(node) == early + "\nclosure later = 1"


def test_where_the_module_is_and_how_it_was_started_do_not_count(load: Load) -> None:
    code = "def node(s): return (__name__, __file__)"
    assert text_of(load, code) == text_of(load, code)


def test_the_code_of_another_module_does_not_count(load: Load) -> None:
    code = "from {} import helper\ndef node(s): return helper(s)"
    files = {"theirs_a": "def helper(s): return 1", "theirs_b": "def helper(s): return 2"}
    assert text_of(load, code.format("theirs_a"), **files) == text_of(load, code.format("theirs_b"), **files)


@pytest.mark.parametrize(
    "code",
    [
        "fs = [lambda s: s.a, lambda s: s.b]",
        "fs = [lambda s: 1, lambda s: 2]",
        "f = lambda: (lambda: 1)\nfs = [f, f()]",
        "def make(k): return (lambda s: s + k), (lambda s: s - k)\nfs = make(3)",
        "fs = dict(a=lambda s: [x for x in s], b=lambda s: [x for x in s if x]).values()",
        "fs = [lambda é: é, lambda é: -é]",
    ],
)
def test_lambdas_on_one_line_are_told_apart_in_the_source(load: Load, code: str) -> None:
    texts = [normalised(f) for f in load(code).fs]
    assert len(set(texts)) == len(texts) == 2
    assert not any("bytecode" in text for text in texts)


def test_lambdas_that_cannot_be_told_apart_are_described_by_their_bytecode(load: Load) -> None:
    one, two = load("fs = [lambda s: s.a, lambda s: s.b]").fs
    for fn in (one, two):  # as when Python runs with -X no_debug_ranges
        fn.__code__ = fn.__code__.replace(co_linetable=b"")
    assert normalised(one).startswith("function bytecode(")
    assert normalised(one) != normalised(two)
    assert source_warnings(one) == []


def test_a_lambda_in_the_middle_of_a_call_is_found(load: Load) -> None:
    code = "def keep(**given): return given['route']\nnode = keep(\n  route=lambda s: s.a,{}\n)"
    assert text_of(load, code.format("")) == text_of(load, code.format("  # note\n"))
    assert "Lambda" in text_of(load, code.format(""))


def test_a_function_without_source_is_described_by_its_bytecode() -> None:
    def made(code: str) -> Any:
        names: dict[str, Any] = {"K": 1}
        exec(compile(code, "<nowhere>", "exec"), names)
        return names["node"]

    one = normalised(made("def node(s):\n    return s.a + K"))
    assert one.startswith("function bytecode(")
    assert one == normalised(made("def node(s):\n\n\n    return s.a + K  # note"))
    assert " at 0x" not in normalised(made("def node(s):\n    return [lambda: i for i in s], ..., {1, 2}"))
    for other in ("s.b + K", "s.a - K", "s.a + K + 1", "s.a + (lambda: 1)()"):
        assert one != normalised(made(f"def node(s):\n    return {other}"))
    assert one != normalised(made("K = 2\ndef node(s):\n    return s.a + K"))
    assert normalised(made("P = {}\ndef node(s):\n    return P, len")).startswith("function bytecode(")
    tried = "def node(s):\n    try:\n        {}\n    except ValueError:\n        return 1"
    assert normalised(made(tried.format("a(); b()"))) != normalised(made(tried.format("b(); a()")))


def test_partials_count_with_what_they_hold(load: Load) -> None:
    module = load("def f(limit, s, *, k=1): return s\ndef g(limit, s, *, k=1): return -s")
    text = normalised(functools.partial(module.f, 3, k=2))
    assert text == normalised(functools.partial(module.f, 3, k=2))
    others = [
        functools.partial(module.f, 4, k=2),
        functools.partial(module.f, 3),
        functools.partial(module.g, 3, k=2),
    ]
    assert text not in {normalised(other) for other in others}


def test_callable_objects_count_with_their_code_and_what_they_hold(load: Load) -> None:
    code = """
        class Agent:
            def __init__(self, prompt): self.prompt = prompt
            def __call__(self, state, ctx): return self.help(state)
            def help(self, state): return {}
        class Slim:
            __slots__ = ("prompt",)
            def __init__(self, prompt): self.prompt = prompt
            def run(self, state, ctx): return 1
        """
    one, two = load(code.format(1)), load(code.format(2))
    assert normalised(one.Agent("a")) == normalised(one.Agent("a")) != normalised(one.Agent("b"))
    assert normalised(one.Agent("a")) != normalised(two.Agent("a"))
    assert normalised(one.Slim("a").run) == normalised(two.Slim("a").run) != normalised(one.Slim("b").run)


def test_a_callable_from_c_and_a_class_are_described_by_their_name(load: Load) -> None:
    assert normalised(len) == "function named builtins.len"
    assert normalised(dict) == "function named builtins.dict"
    assert "itemgetter" in normalised(__import__("operator").itemgetter("a"))


def test_a_file_that_python_warns_about_is_read_without_a_word(load: Load) -> None:
    with pytest.warns(Warning, match="invalid escape"):
        module = load("def node(s): return '\\d'")
    assert "bytecode" not in normalised(module.node)


SCRIPT = """
import importlib.util, json, sys, types
for name in ("turnout", "turnout.core"):  # not its __init__, which needs what isn't installed there
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from turnout.core.source import normalised
spec = importlib.util.spec_from_file_location("sample", sys.argv[2])
module = importlib.util.module_from_spec(spec)
sys.modules["sample"] = module
spec.loader.exec_module(module)
print(json.dumps([normalised(f) for f in module.nodes]))
"""
SAMPLE = '''
import functools
K, T = 1.5, frozenset(["x", "y", "zz"])
P = {"a": f"{K:>{10}} {{braces}} {'nested'!r}"}
class Out:
    "Doc."
    x: int = 1
def helper(x, /, *rest, k=None, **more):
    """Doc."""
    return [y for y in x if y] if k else (lambda: x)()
async def one(state, ctx):
    match state:
        case {"a": [1, *rest], **more} if rest: return K, T, P, Out
        case Out(x=None) | [] as found: pass
    async with ctx.a as (b, c), ctx.d: del b
    b = [y async for y in x if y]
    try: assert -1 ** 2j, b"bytes"
    except* ValueError as e: raise e from None
    x: "dict[str,  int]" = {**state, 1: ..., "é\\u0378": f"{state=} {ctx!r:>{K}}" "{{" f"}}{{a{{ {K:{{}}^9}"}
    global G; G = yield_ = not (x if state else await helper(x)) and state[1:2, ::3] @ x
    return {k: v for k, v in x.items()}, {*x}, (z := x), x[*x]
nodes = [one, functools.partial(helper, 1, k="a"), lambda s: (s, K), functools.lru_cache(helper)]
'''


@pytest.mark.slow
def test_the_text_is_the_same_under_other_hash_seeds_and_versions_of_python(tmp_path: Path) -> None:
    """With what is installed here: other versions are tried when there are any."""
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    root = str(Path(source.__file__).parents[2])

    def run(python: str, seed: str) -> str:
        env = {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
        command = [python, "-c", SCRIPT, root, str(sample)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    expected = run(sys.executable, "1")
    assert "Lambda(" in expected
    assert "bytecode" not in expected
    assert "Error" not in expected.replace("ValueError", "")
    assert run(sys.executable, "2") == expected
    for python in sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python3")):
        assert run(str(python), "3") == expected, python


def test_the_fingerprint_is_16_hex_characters_and_knows_where_a_part_ends() -> None:
    assert fingerprint([]) == "e3b0c44298fc1c14"
    assert len(fingerprint(["a"])) == 16
    assert int(fingerprint(["a", "b"]), 16) >= 0
    parts = [["ab"], ["a", "b"], ["b", "a"], ["ab", ""], ["", "ab"], ["1:a"], ["é"], ["\ud800"]]
    assert len({fingerprint(p) for p in parts}) == len(parts)
    assert fingerprint(iter(["a", "b"])) == fingerprint(("a", "b"))


@given(st.lists(st.text()), st.lists(st.text()))
def test_different_parts_have_different_fingerprints(one: list[str], two: list[str]) -> None:
    assert (fingerprint(one) == fingerprint(two)) == (one == two)


# --- the warnings -----------------------------------------------------------------------------------------


def test_a_warning_says_where_what_why_and_what_to_use(load: Load) -> None:
    module = load(body("return datetime.now()", "from datetime import datetime"))
    [warning] = source_warnings(module.node)
    assert warning == SourceWarning(
        module.__file__ or "", 3, "datetime.now()", "a replay would read another time", "ctx.now()"
    )
    assert str(warning) == (
        f"{module.__file__}:3: found datetime.now(): a replay would read another time; use ctx.now()"
    )
    assert source.warnings(module.node) == [warning]
    with pytest.raises(AttributeError):
        warning.line = 4  # type: ignore[misc]
    assert len({warning, *source_warnings(module.node)}) == 1


def test_the_example_of_the_design_is_clean(load: Load) -> None:
    code = """
        from pydantic import BaseModel
        from turnout.core.tool import tool
        class Refund(BaseModel):
            order: str
            amount: int = 0
        @tool(effect="read")
        async def order_total(order: str) -> int:
            import httpx
            return httpx.get(order).json()
        async def node(state: Refund, ctx) -> dict:
            decision = await ctx.review("Refund?", payload={"order": state.order}, roles=["finance"])
            notes = [decision.summary]
            notes.append(state.order)
            update = {"amount": await ctx.call(order_total, order=state.order)}
            update["notes"] = notes
            return update
        """
    assert found(load, code) == []


# What is found in `node`, by import and expression; `{}` in the second part stands where the state is.
FOUND = [
    ("import datetime", "datetime.datetime.now()", "ctx.now()"),
    ("import datetime as dt", "dt.datetime.now(dt.UTC)", "ctx.now()"),
    ("import datetime as dt", "dt.date.today()", "ctx.now()"),
    ("from datetime import datetime as D", "D.utcnow()", "ctx.now()"),
    ("from datetime import date", "date.today()", "ctx.now()"),
    ("import time", "time.time()", "ctx.now()"),
    ("import time as t", "t.monotonic()", "ctx.now()"),
    ("from time import perf_counter as clock", "clock()", "ctx.now()"),
    ("import time", "time.localtime()", "ctx.now()"),
    ("import time", "time.strftime('%Y')", "ctx.now()"),
    ("import time\nclock = time.time", "clock()", "ctx.now()"),
    ("import datetime\nnow = datetime.datetime.now", "now()", "ctx.now()"),
    ("from clocks import now", "now()", "ctx.now()"),
    ("import clocks", "clocks.now()", "ctx.now()"),
    ("import time", "time.sleep(1)", "ctx.sleep(until)"),
    ("import asyncio", "await asyncio.sleep(1)", "ctx.sleep(until)"),
    ("from asyncio import sleep", "await sleep(1)", "ctx.sleep(until)"),
    ("import random", "random.random()", "ctx.random()"),
    ("from random import choice", "choice([1])", "ctx.random()"),
    ("from random import *", "randint(1, 2)", "ctx.random()"),
    ("import random\nrng = random.Random(7)", "rng.choice([1])", "ctx.random()"),
    ("import random", "random.Random()", "ctx.random()"),
    ("import random", "random.shuffle([])", "ctx.random()"),
    ("import secrets", "secrets.token_hex()", "ctx.random()"),
    ("import numpy as np", "np.random.rand(3)", "ctx.random()"),
    ("import numpy.random as npr", "npr.rand(3)", "ctx.random()"),
    ("from numpy.random import rand", "rand(3)", "ctx.random()"),
    ("import os", "os.urandom(8)", "ctx.random()"),
    ("from os import urandom", "urandom(8)", "ctx.random()"),
    ("import uuid", "uuid.uuid4()", "ctx.uuid()"),
    ("from uuid import uuid1", "uuid1()", "ctx.uuid()"),
    ("import httpx", "httpx.get('u')", "ctx.call"),
    ("import httpx", "httpx.Client().get('u')", "ctx.call"),
    ("import httpx\nclient = httpx.Client()", "client.get('u')", "ctx.call"),
    ("import httpx\nclient = httpx.Client()\nother = client", "other.stream.open('u')", "ctx.call"),
    ("import settings", "settings.client.get('u')", "ctx.call"),
    ("from settings import client as http", "http.get('u')", "ctx.call"),
    ("import settings", "settings.service.client.get('u')", "ctx.call"),
    ("import urllib.request", "urllib.request.urlopen('u')", "ctx.call"),
    ("from urllib.request import urlopen", "urlopen('u')", "ctx.call"),
    ("import urllib.request as r", "r.urlopen('u')", "ctx.call"),
    ("import http.client", "http.client.HTTPConnection('u')", "ctx.call"),
    ("import socket", "socket.create_connection(('a', 1))", "ctx.call"),
    ("import smtplib", "smtplib.SMTP('a')", "ctx.call"),
    ("import sqlite3", "sqlite3.connect('a')", "ctx.call"),
    ("from sqlite3 import connect", "connect('a')", "ctx.call"),
    ("import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.close()", "db.execute('a')", "ctx.call"),
    ("import subprocess", "subprocess.run(['a'])", "ctx.call"),
    ("import os", "os.system('a')", "ctx.call"),
    ("import openai", "openai.OpenAI()", "ctx.model"),
    ("import openai\nai = openai.OpenAI()", "await ai.chat.completions.create(a=1)", "ctx.model"),
    ("from google import genai", "genai.Client()", "ctx.model"),
    ("import google.generativeai as g", "g.GenerativeModel('a')", "ctx.model"),
    ("from langchain_openai import ChatOpenAI\nllm = ChatOpenAI()", "llm.invoke('a')", "ctx.model"),
    ("", "open('a', 'w')", "write tool"),
    ("", "open('a', mode='ab')", "write tool"),
    ("", "open('a', 'x')", "write tool"),
    ("", "open('a', 'r+')", "write tool"),
    ("", "open('a', state.mode)", "write tool"),
    ("", "open('a')", "read tool"),
    ("", "open('a', 'rb')", "read tool"),
    ("import io", "io.open('a', 'w')", "write tool"),
    ("from pathlib import Path", "Path('a').write_text('b')", "write tool"),
    ("from pathlib import Path", "(Path('a') / 'b').unlink()", "write tool"),
    ("from pathlib import Path", "Path('a').joinpath('b').parent.mkdir()", "write tool"),
    ("import pathlib\nROOT = pathlib.Path('a')", "(ROOT / 'b').write_bytes(b'')", "write tool"),
    ("from pathlib import Path", "Path('a').open('w')", "write tool"),
    ("from pathlib import Path", "Path('a').open()", "read tool"),
    ("from pathlib import Path", "Path('a').read_text().replace('a', 'b')", "read tool"),
    ("import os", "os.remove('a')", "write tool"),
    ("from os import remove", "remove('a')", "write tool"),
    ("import shutil", "shutil.rmtree('a')", "write tool"),
    ("import os", "os.getenv('A')", "read tool"),
    ("import os", "os.environ['A']", "read tool"),
    ("import os", "os.environ.get('A')", "read tool"),
    ("from os import environ", "environ['A']", "read tool"),
    ("from os import environ as env", "env.get('A')", "read tool"),
    ("import os.path", "os.path.exists('a')", "read tool"),
    ("import threading", "threading.Thread(target=print)", "fan_out"),
    ("import asyncio", "asyncio.create_task(ctx.x())", "fan_out"),
    ("from asyncio import ensure_future", "ensure_future(ctx.x())", "fan_out"),
    ("from concurrent.futures import ThreadPoolExecutor", "ThreadPoolExecutor()", "fan_out"),
    ("", "input('?')", "ctx.review"),
    (
        "from turnout.core.tool import tool\n@tool(effect='read')\ndef look(a: int) -> int: return a",
        "look(1)",
        "ctx.call(tool",
    ),
]
FAKES = {
    "httpx": """
        class Client:
            stream = None
            def get(self, url): ...
        class URL:
            def __init__(self, url): ...
        class HTTPError(Exception): ...
        def get(url): ...
    """,
    "openai": """
        class OpenAI: ...
    """,
    "numpy____init__": "",
    "numpy__random": "def rand(n): ...",
    "google____init__": "",
    "google__genai": "class Client: ...",
    "google__generativeai": "class GenerativeModel: ...",
    "langchain_openai": "class ChatOpenAI: ...",
    "langchain_core____init__": "",
    "langchain_core__messages": "class HumanMessage:\n    def __init__(self, text): ...",
    "clocks": "from time import time as now",
    "settings": """
        import httpx
        client = httpx.Client()
        class Service:
            def __init__(self):
                self.client = httpx.Client()
            @property
            def boom(self):
                raise RuntimeError
        service = Service()
    """,
    "mylib": """
        def random(): ...
        def now(): ...
        class client:
            @staticmethod
            def get(): ...
    """,
}


@pytest.mark.parametrize(("imports", "expression", "use"), FOUND, ids=[f"{a}; {b}" for a, b, _ in FOUND])
def test_what_replay_cannot_see_is_found(load: Load, imports: str, expression: str, use: str) -> None:
    module = load(body(f"a = 1\nreturn {expression}", imports), **FAKES)
    [warning] = source_warnings(module.node)
    assert use in warning.use
    assert warning.file == module.__file__
    line = Path(warning.file).read_text().splitlines()[warning.line - 1]
    assert expression in line
    assert warning.found.split("(")[0].split("[")[0] in line


# Not the user's own modules: these are known by their objects, which an import inside doesn't have yet.
LOCAL_IMPORTS = [
    case
    for case in FOUND
    if case[0] and not any(part in case[0] for part in ("\n", "*", "clocks", "settings"))
]


@pytest.mark.parametrize(("imports", "expression", "use"), LOCAL_IMPORTS)
def test_imports_inside_the_function_are_followed(
    load: Load, imports: str, expression: str, use: str
) -> None:
    assert len(found(load, body(f"{imports}\nreturn {expression}"), **FAKES)) == 1


CLEAN = [
    ("", "ctx.random(), ctx.now(), ctx.uuid(), await ctx.sleep(ctx.now())"),
    ("", "await ctx.model('fast', messages=[]), await ctx.call(print, a=1)"),
    ("import random", "await ctx.call(random.random)"),
    ("import httpx", "await ctx.once('get', httpx.get, 'u')"),
    ("import httpx", "await ctx.once('get', lambda: httpx.get('u'))"),
    ("import httpx", "isinstance(state, httpx.Client)"),
    ("import httpx", "httpx.URL('u'), httpx.HTTPError('u')"),
    ("from langchain_core.messages import HumanMessage", "HumanMessage('a')"),
    ("def random(): return 4\ndef now(): return 1", "random(), now()"),
    ("from random import random\ndef random(): return 4", "random()"),
    ("from httpx import Client\nclass Client: ...", "Client()"),
    ("from mylib import random, now, client", "random(), now(), client.get()"),
    ("import mylib as random", "random.random(), random.client.get()"),
    ("class time:\n    @staticmethod\n    def time(): ...", "time.time()"),
    ("def open(a, b): ...", "open('a', 'w')"),
    ("import random", "random.Random(3)"),
    ("import time", "time.localtime(1), time.strftime('%Y', state.at), time.strptime('1', '%Y')"),
    ("import datetime", "datetime.datetime(2020, 1, 1), datetime.timedelta(days=1)"),
    ("import datetime", "datetime.datetime.fromisoformat('2020-01-01').isoformat()"),
    ("import urllib.parse", "urllib.parse.quote('a')"),
    ("import uuid", "uuid.uuid5(uuid.NAMESPACE_URL, 'a'), uuid.UUID(int=1)"),
    ("import os.path", "os.path.join('a', 'b')"),
    ("from pathlib import Path", "Path('a') / 'b', Path('a').name, Path('a').with_suffix('.b').parent"),
    ("import http", "http.HTTPStatus(200)"),
    ("import asyncio", "await asyncio.gather(ctx.a(), ctx.b())"),
    ("import secrets", "secrets.compare_digest('a', 'b')"),
    ("NAMES = ['a']", "NAMES.index('a'), NAMES + ['b'], 'a'.replace('a', 'b')"),
    ("import settings", "settings.service.other(), settings.Service"),
    ("x = None", "[random for random in state], {time: 1 for time in state}"),
]


@pytest.mark.parametrize(("imports", "expression"), CLEAN, ids=[f"{a}; {b}" for a, b in CLEAN])
def test_what_merely_looks_alike_is_not_found(load: Load, imports: str, expression: str) -> None:
    assert found(load, body(f"return {expression}", imports), **FAKES) == []


@pytest.mark.parametrize(
    "code",
    [
        "random = state.rng\nreturn random.random()",
        "for time in state: time.time()",
        "with state as time: time.time()",
        "try: pass\nexcept Exception as time: time.time()",
        "def open(a, b): ...\nopen('a', 'w')",
        "class time: ...\ntime.time()",
        "match state:\n    case [time, *random]: time.time(), random.random()",
        "match state:\n    case {'a': 1, **time}: time.time()",
        "(time := state.time).time()",
        "return [time.time() for time in state]",
        "return (lambda time: time.time())(state)",
        "def inner(time): return time.time()\nreturn inner(state)",
        "time, random = state\ntime.time(), random.random()",
    ],
)
def test_a_local_of_the_same_name_is_not_a_module(load: Load, code: str) -> None:
    assert found(load, body(code, "import time, random")) == []


def test_a_local_that_stands_for_a_clock_or_a_client_is_followed(load: Load) -> None:
    code = body(
        """
        now = datetime.now
        http = client
        at = now()
        http.get(at)
        path = Path("a") / "b"
        path.write_text("c")
        path = "text"
        path.write_text("c")
        """,
        "import httpx\nfrom datetime import datetime\nfrom pathlib import Path\nclient = httpx.Client()",
    )
    assert found(load, code, **FAKES) == ["9: now()", "10: http.get(...)", "12: path.write_text(...)"]


def test_an_annotated_parameter_of_a_helper_is_what_it_says(load: Load) -> None:
    code = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import httpx
        def fetch(client: httpx.Client, url: str):
            return client.get(url)
        def node(state, ctx):
            return fetch(state.client, "u")
        """
    assert found(load, code, **FAKES) == ["7: client.get(...)"]


def test_imports_under_try_are_followed(load: Load) -> None:
    code = "try:\n    import httpx as web\nexcept ImportError:\n    web = None\n" + body("web.get('u')")
    assert found(load, code, **FAKES) == ["7: web.get(...)"]
    code = "try:\n    import missing as web\nexcept ImportError:\n    import httpx as web\n" + body(
        "web.get('u')"
    )
    assert found(load, code, **FAKES) == ["7: web.get(...)"]


MUTATIONS = {
    "state.x = 1": "state.x = ...",
    "state.x += 1": "state.x += ...",
    "state.x: int = 1": "state.x = ...",
    "state.a.b = 1": "state.a.b = ...",
    "state.items[0] = 1": "state.items[0] = ...",
    "state.items[1:] = []": "state.items[1:] = ...",
    "state.items[0].done = True": "state.items[0].done = ...",
    "del state.x": "del state.x",
    "del state.items[0]": "del state.items[0]",
    "a, state.x = 1, 2": "state.x = ...",
    "for state.x in [1]: pass": "state.x = ...",
    "setattr(state, 'x', 1)": "setattr(...)",
    "items = state.items\nitems.append(1)": "items.append(...)",
    "items = state.items or []\nitems.append(1)": "items.append(...)",
    "items = [] if ctx.x else state.items\nitems.append(1)": "items.append(...)",
    "items = state.items\nitems += [1]": "items += ...",
    "items = state.items\nitems[0] = 1": "items[0] = ...",
    "inner = state.inner\nitems = inner.items\nitems.sort()": "items.sort()",
    "a = b = state.items\na.clear()": "a.clear()",
    "(items := state.items).append(1)": "(items := state.items).append(...)",
    "s = state\ns.x = 1": "s.x = ...",
    "for item in state.items: item.done = True": "item.done = ...",
    "[item.tags.append(1) for item in state.items]": "item.tags.append(...)",
    "def inner():\n    state.items.append(1)\ninner()": "state.items.append(...)",
    "return (lambda: state.items.append(1))()": "state.items.append(...)",
    **{
        f"state.items.{name}(1)": f"state.items.{name}(...)"
        for name in "append extend insert pop remove update setdefault add discard".split()  # noqa: SIM905
    },
    **{f"state.items.{name}()": f"state.items.{name}()" for name in ("clear", "sort", "reverse", "popitem")},
}


@pytest.mark.parametrize(("code", "expected"), MUTATIONS.items(), ids=MUTATIONS.keys())
def test_changing_the_state_in_place_is_found(load: Load, code: str, expected: str) -> None:
    module = load(body(code).replace("state, ctx", "given, ctx").replace("state", "given"))
    [warning] = source_warnings(module.node)
    assert warning.found == expected.replace("state", "given")
    assert warning.use == "a returned update"
    line = Path(warning.file).read_text().splitlines()[warning.line - 1]
    assert line.strip().startswith(("given", "del", "items", "a", "s", "(", "[", "for", "return"))


@pytest.mark.parametrize(
    "code",
    [
        "items = []\nitems.append(1)\nitems[0] = 2\ndel items[0]",
        "items = list(state.items)\nitems.append(1)",
        "items = [*state.items]\nitems += [1]",
        "items = state.items[:]\nitems.append(1)",
        "items = state.items.copy()\nitems.sort()",
        "items = state.items\nitems = items + [1]\nitems.append(2)",
        "items = state.items\nreturn len(items), items[0], items.index(1)",
        "total = state.total\ntotal += 1\nreturn total",
        "state = state.model_copy()\nstate.x = 1",
        "new = state.model_copy(update={'x': 1})\nnew.x = 2",
        "def inner(state):\n    state.x = 1\nreturn inner",
        "return (lambda state: state.append(1))",
        "for state in [[], []]: state.append(1)",
        "for i in range(3): i += 1",
        "items: list\nitems = []\nitems.append(1)",
        "ctx.x = 1",
        "other = ctx.thing\nother.update(a=1)",
        "return [x for x in state.items if x], sorted(state.items), {'x': state.x}",
        "update = {}\nupdate['x'] = 1\nupdate.setdefault('a', 1)\nreturn update",
        "state.order.lower(), state.items.count(1), state.data.get('a')",
    ],
)
def test_changing_what_is_the_nodes_own_is_not_found(load: Load, code: str) -> None:
    assert found(load, body(code)) == []


def test_globals_and_outer_variables_that_are_changed_are_found(load: Load) -> None:
    code = """
        count = 0
        seen = []
        table = {"a": {}}
        def make():
            total = 0
            rows = []
            def node(state, ctx):
                global count
                nonlocal total
                count = 1
                count += 1
                total += 1
                seen.append(1)
                table["a"]["b"] = 2
                rows.append(3)
                del count
                cache = seen
                cache.append(1)
            return node
        node = make()
        """
    assert found(load, code) == [
        "11: count = ...",
        "12: count += ...",
        "13: total += ...",
        "14: seen.append(...)",
        "15: table['a']['b'] = ...",
        "16: rows.append(...)",
        "17: del count",
        "19: cache.append(...)",
    ]
    assert {w.use for w in source_warnings(load(code).node)} == {"a field of the state"}


def test_a_variable_of_the_step_itself_may_be_changed_from_an_inner_function(load: Load) -> None:
    code = """
        import httpx
        count = 0
        late = []
        client = httpx.Client()
        def node(state, ctx):
            n, count, seen = 0, 1, []
            def step():
                nonlocal n
                n += 1
                seen.append(n)
                late.append(client.get(n))
                nonlocal after
                after += 1
            late, after, client = [], 0, state.client
            step()
            count += 1
            return {"n": n, "count": count}
        """
    assert found(load, code, **FAKES) == []


@pytest.mark.parametrize(
    "code",
    [
        "class Inner:\n    at = time.time()",
        "class Inner:\n    def at(self): return time.time()",
        "try: pass\nexcept ValueError: time.time()",
        "try: pass\nfinally: time.time()",
        "match state:\n    case {'a': 1} if time.time(): pass",
        "match state:\n    case 1 as x: time.time()",
        "for i in [1]: time.time()",
        "for i in [1]: pass\nelse: time.time()",
        "while time.time(): pass",
        "return [i for i in [1] if time.time()]",
        "return [time.time() for i in [1]]",
        "return {i: time.time() for i in [1]}",
        "return {time.time(): i for i in [1]}",
        "return sum(i for i in [time.time()])",
        "return lambda: time.time()",
        "with ctx.a(time.time()): pass",
        "return f'{time.time()}'",
        "x: float = time.time()",
        "ctx.a(b=time.time())",
        "ctx.a[time.time()] = 1",
        "for ctx.a[time.time()] in [1]: pass",
        "return await ctx.call(print, at=time.time())",
    ],
)
def test_every_corner_of_a_function_is_read(load: Load, code: str) -> None:
    assert [line.partition(": ")[2] for line in found(load, body(code, "import time"))] == ["time.time()"]


@pytest.mark.parametrize(
    "code",
    [
        "try: pass\nexcept state.Errors[state.items.pop()]: pass",
        "match ctx.x:\n    case [a, *b] if state.items.pop(): pass",
        "match ctx.x:\n    case {'a': ctx.X.y, **rest}: state.items.pop()",
    ],
)
def test_patterns_and_handlers_are_read_too(load: Load, code: str) -> None:
    assert len(found(load, body(code))) == 1


def test_both_sides_of_an_augmented_assignment_are_read(load: Load) -> None:
    code = body("rows = {}\nrows[time.time()] += random.random()", "import random, time")
    assert found(load, code) == ["4: random.random()", "4: time.time()"]


def test_a_helper_of_the_same_module_is_looked_into(load: Load) -> None:
    code = """
        from datetime import datetime
        async def deeper():
            return (
                datetime
                .now()
            )
        async def helper(x):
            node
            return await deeper() or await helper(x)
        async def unused():
            return datetime.now()
        async def node(state, ctx):
            await helper(1)
            return await helper(2)
        """
    module = load(code)
    [warning] = source_warnings(module.node)
    assert (warning.file, warning.line, warning.found) == (module.__file__, 5, "datetime.now()")


def test_a_helper_of_another_module_and_a_recorded_one_are_not_looked_into(load: Load) -> None:
    code = """
        import time
        from theirs import helper
        def mine():
            return time.time()
        async def node(state, ctx):
            async def fetch():
                return time.time()
            helper()
            await ctx.once("mine", mine)
            return await ctx.once("fetch", fetch)
        """
    assert found(load, code, theirs="import time\ndef helper(): return time.time()") == []


def test_a_helper_is_followed_only_with_what_it_is_given(load: Load) -> None:
    code = """
        def tidy(rows, note=None, *, more=None):
            rows.append(1)
            note.x = 2
            more.append(3)
        def node(state, ctx):
            rows = []
            {call}
        """
    assert found(load, code.format(call="tidy(rows)")) == []
    assert found(load, code.format(call="tidy(state.rows)")) == ["3: rows.append(...)"]
    assert found(load, code.format(call="tidy([], state)")) == ["4: note.x = ..."]
    assert found(load, code.format(call="tidy([], more=state.x)")) == ["5: more.append(...)"]
    assert found(load, code.format(call="tidy(rows), tidy(state.rows, state)")) == [
        "3: rows.append(...)",
        "4: note.x = ...",
    ]


def test_file_and_line_are_exact_in_decorated_nested_and_long_functions(load: Load) -> None:
    code = (
        "import functools, time\n"
        + GRAPH
        + """
def traced(fn):
    @functools.wraps(fn)
    def inner(*args):
        return fn(*args)
    return inner

@traced
@graph.node(
    name="n",
)
def node(
    state,
    ctx,
):
    '''A docstring
    over lines.'''
    text = '''
    time.time()
    '''
    def nested():
        return [
            1,
            time.time(),  # here A
        ]
    return {
        "a": text,
        "b": dict(
            c=time.monotonic(),  # here B
        ),
    }
"""
    )
    module = load(code)
    lines = Path(module.__file__ or "").read_text().splitlines()
    warnings = source_warnings(module.node)
    assert [w.found for w in warnings] == ["time.time()", "time.monotonic()"]
    assert lines[warnings[0].line - 1].endswith("# here A")
    assert lines[warnings[1].line - 1].endswith("# here B")


def test_defaults_and_decorators_of_the_node_run_before_any_step(load: Load) -> None:
    code = """
        import time
        def stamp(at): return lambda fn: fn
        @stamp(time.time())
        def node(state, ctx, at=time.time()):
            def inner(b=time.time()):
                return b
            return inner
        """
    assert found(load, code) == ["6: time.time()"]


def test_a_comment_silences_the_line(load: Load) -> None:
    code = """
        import time, httpx
        def node(state, ctx):
            time.time()  # turnout: ok
            time.time()  # noqa: X1  # turnout: ok, only for a log line
            time.time()  # turnout: okay
            "# turnout: ok", time.time()
            httpx.get(  # turnout: ok
                "u",
                time.time(),
            )
            httpx.get(
                "u",
                time.monotonic(),
            )  # turnout: ok
            state.x = 1  # turnout: ok
            state.y = 1
        """
    assert found(load, code, **FAKES) == [
        "6: time.time()",
        "7: time.time()",
        "10: time.time()",
        "14: time.monotonic()",
        "17: state.y = ...",
    ]


def test_lambdas_partials_methods_and_callable_objects_are_read(load: Load) -> None:
    code = """
        import functools, time, httpx
        class Agent:
            def __init__(self):
                self.client = httpx.Client()
                self.calls = 0
                self.name = "a"
            def __call__(self, state, ctx):
                self.calls += 1
                state.x = self.name
                return self.fetch(state)
            def fetch(self, given):
                given.y = 1
                return self.client.get("u")
        def configured(client, state, ctx, *, late):
            state.x = client.get(late)
        agent = Agent()
        method = agent.fetch
        part = functools.partial(configured, httpx.Client(), late=1)
        short = lambda state, ctx: (state.items.append(1), time.time())
        pair = [lambda s: time.time(), lambda s: s.x]
        """
    module = load(code, **FAKES)

    def lines(fn: Any) -> list[str]:
        return [f"{w.line}: {w.found}" for w in source_warnings(fn)]

    inside = ["13: given.y = ...", "14: self.client.get(...)"]
    assert lines(module.agent) == ["9: self.calls += ...", "10: state.x = ...", *inside]
    assert lines(module.method) == inside
    assert lines(module.part) == ["16: client.get(...)", "16: state.x = ..."]
    assert lines(module.short) == ["20: state.items.append(...)", "20: time.time()"]
    assert [len(lines(f)) for f in module.pair] == [1, 0]


def test_a_wrapper_without_functools_wraps_is_seen_through(load: Load) -> None:
    code = """
        import time
        def deco(fn):
            def inner(state, ctx):
                return fn(state, ctx)
            return inner
        @deco
        def node(state, ctx):
            state.x = time.time()
        """
    assert found(load, code) == ["9: time.time()", "9: state.x = ..."]


def test_what_has_no_source_gives_no_warnings() -> None:
    names: dict[str, Any] = {}
    exec("import time\ndef node(s): return time.time()", names)
    assert source_warnings(names["node"]) == []
    assert source_warnings(len) == []
    assert source_warnings(dict) == []


def test_reading_a_function_runs_none_of_its_code(load: Load) -> None:
    code = """
        class Trap:
            def __getattr__(self, name): raise SystemExit(name)
            @property
            def client(self): raise SystemExit("property")
        trap = Trap()
        from theirs import other
        other = trap
        def node(state, ctx):
            return trap.client.get("u"), trap.anything.else_(), other.client.get(), other()
        """
    module = load(code, theirs="other = None")
    assert source_warnings(module.node) == []
    assert normalised(module.node)
