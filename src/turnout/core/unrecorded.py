"""The table of calls that replay can't see: what they are called, why it matters, and what to use instead.

A name stands for everything under it (`requests` for `requests.get`); a longer name in the table wins.
"""

from __future__ import annotations

import ast
from typing import NamedTuple


class Reason(NamedTuple):
    """Why something is a problem, and what to use instead of it."""

    why: str
    use: str


STATE = Reason("a change made in place is in no update, so the journal never sees it", "a returned update")
OUTSIDE = Reason("a value kept outside the state is not in the journal", "a field of the state")
PURE = Reason("", "")
"""For names under a listed one that only compute."""

_CLOCK = Reason("a replay would read another time", "ctx.now()")
_SLEEP = Reason("it holds the worker, and a resumed step waits again", "ctx.sleep(until)")
_RANDOM = Reason("a replay would draw another value", "ctx.random()")
_UUID = Reason("a replay would draw another id", "ctx.uuid()")
_MODEL = Reason("the answer is not on record and would be paid for again", "ctx.model(alias, ...)")
_CALL = Reason("it is not on record and would be done again", "ctx.call(tool, ...), or ctx.once")
_TOOL = Reason("a tool called as a plain function is not on record", "ctx.call(tool, ...)")
_WRITE = Reason("it is not on record and would be done again", "ctx.call(tool, ...) with a write tool")
_READ = Reason("a replay may find something else", "ctx.call(tool, ...) with a read tool, or ctx.once")
_TASK = Reason("work beside the step is not on record", "fan_out(...) or parallel branches")
_PERSON = Reason("what the person answers is not on record", "ctx.review(...)")


def _names(prefix: str, names: str) -> list[str]:
    return [f"{prefix}.{name}" if prefix else name for name in names.split()]


_TABLE: dict[str, Reason] = {
    name: reason
    for reason, names in [
        (_CLOCK, _names("datetime.datetime", "now utcnow today")),
        (_CLOCK, _names("datetime.date", "today")),
        (_CLOCK, _names("time", "time monotonic perf_counter process_time thread_time clock_gettime")),
        (_CLOCK, _names("time", "time_ns monotonic_ns perf_counter_ns process_time_ns thread_time_ns")),
        (_CLOCK, _names("time", "clock_gettime_ns gmtime localtime ctime asctime strftime")),
        (_SLEEP, _names("", "time.sleep asyncio.sleep")),
        (_RANDOM, _names("", "random secrets numpy.random os.urandom os.getrandom")),
        (_UUID, _names("uuid", "uuid1 uuid4 uuid6 uuid7")),
        (_MODEL, _names("", "openai anthropic litellm cohere mistralai langchain groq ollama")),
        (_MODEL, _names("google", "generativeai genai")),
        (_CALL, _names("", "requests httpx aiohttp urllib.request urllib3 http.client socket smtplib")),
        (
            _CALL,
            _names("", "ftplib boto3 aioboto3 botocore psycopg psycopg2 asyncpg sqlite3 aiosqlite redis"),
        ),
        (_CALL, _names("", "subprocess")),
        (_CALL, _names("os", "system popen startfile posix_spawn")),
        (_CALL, _names("asyncio", "create_subprocess_exec create_subprocess_shell open_connection")),
        (_TOOL, _names("turnout.core.tool", "Tool")),
        (_WRITE, _names("pathlib.Path", "write_text write_bytes unlink mkdir rmdir rename replace touch")),
        (_WRITE, _names("pathlib.Path", "chmod symlink_to hardlink_to")),
        (_WRITE, _names("os", "remove unlink rename renames replace mkdir makedirs rmdir removedirs")),
        (_WRITE, _names("os", "symlink link chmod chown truncate write open mkfifo putenv unsetenv")),
        (_WRITE, _names("", "shutil tempfile")),
        (_READ, _names("pathlib.Path", "read_text read_bytes exists is_file is_dir iterdir glob rglob stat")),
        (_READ, _names("os", "getenv getenvb getcwd listdir scandir walk stat")),
        (_READ, _names("os.path", "exists isfile isdir getsize getmtime getctime")),
        (_READ, _names("glob", "glob iglob")),
        (_TASK, _names("threading", "Thread Timer")),
        (_TASK, _names("asyncio", "create_task ensure_future")),
        (_TASK, _names("concurrent.futures", "ThreadPoolExecutor ProcessPoolExecutor thread process")),
        (_TASK, _names("", "multiprocessing")),
        (_PERSON, _names("builtins", "input")),
        (PURE, _names("langchain_core", "messages prompts documents output_parsers")),
        (PURE, _names("", "langchain_text_splitters openai.types anthropic.types google.genai.types")),
        (PURE, _names("httpx", "URL Timeout Limits Headers QueryParams codes")),
        (PURE, _names("boto3.dynamodb", "conditions types")),
        (PURE, _names("socket", "inet_aton inet_ntoa inet_pton inet_ntop htonl htons ntohl ntohs")),
        (PURE, _names("", "secrets.compare_digest subprocess.list2cmdline shutil.get_terminal_size")),
        (PURE, _names("turnout.core.tool.Tool", "schema check typed code")),
    ]
    for name in names
}
# Given that many arguments, they take the time, or the seed, from them.
_PURE_WITH = {
    **dict.fromkeys(_names("time", "gmtime localtime ctime asctime"), 1),
    **dict.fromkeys(_names("", "random.Random numpy.random.default_rng numpy.random.RandomState"), 1),
    "time.strftime": 2,
}
# What opens a file, and where its `mode` stands among the arguments.
_OPENERS = {"builtins.open": 1, "io.open": 1, "codecs.open": 1, "gzip.open": 1, "pathlib.Path.open": 0}
MUTATORS = frozenset(
    [
        *_names(
            "", "append extend insert pop remove clear sort reverse update setdefault popitem add discard"
        ),
        *_names("", "appendleft popleft extendleft rotate"),
        *_names("", "difference_update intersection_update symmetric_difference_update"),
    ]
)


def reason_for(name: str, arguments: int) -> Reason | None:
    """What the table says of calling the dotted `name` with so many arguments; None if it isn't there."""
    if name in _PURE_WITH and arguments >= _PURE_WITH[name]:
        return PURE
    if name.endswith(("Error", "Exception")):
        return PURE  # an exception that is made to be raised
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        reason = _TABLE.get(".".join(parts[:length]))
        if reason is not None:
            return reason
    return _MODEL if parts[0].startswith("langchain") else None


def mode_of(call: ast.Call, names: list[str]) -> str | None:
    """The mode in which a call opens a file ("" when it doesn't say), or None when it opens none."""
    for name in names:
        if name in _OPENERS:
            given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
            given += call.args[_OPENERS[name] :][:1]
            if not given:
                return ""
            # A mode that isn't written out may be any, and the careful reading is a write.
            return str(given[0].value) if isinstance(given[0], ast.Constant) else "w"
    return None


def file_reason(mode: str) -> Reason:
    """Why it is a problem to open a file in `mode`."""
    return _WRITE if set(mode) & set("wax+") else _READ
