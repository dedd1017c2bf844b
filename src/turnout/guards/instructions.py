"""The language of an instruction inside text that should only inform: what a tool or a retrieval gave back.

A reading aid, not a proof: whoever knows the list can write around it. What it finds is a reason to look.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import unicodedata
from collections.abc import Iterator

from turnout.core.redaction import Text
from turnout.core.unseen import FILLERS, SELECTORS
from turnout.guards.reading import Span, TextCheck

IGNORE, ROLE, HIDDEN, ENCODED, ADDRESSED = (
    "ignore-instructions", "role-marker", "hidden-text", "encoded-instruction", "addressed-to-model",
)  # fmt: skip
LABELS = (IGNORE, ROLE, HIDDEN, ENCODED, ADDRESSED)

_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|existing|original|initial|system|safety)"
_WORDS = r"(?:instructions?|directives?|prompts?|rules?|guidelines?|guardrails?|commands?|messages?|context|orders?|constraints?)"
_GAP = r"(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}"
_IGNORE = "|".join(
    (
        rf"(?:ignore|disregard|forget|override|bypass|overlook|skip|drop|discard|do not follow|don't follow|stop following){_GAP}{_OLD}{_GAP}{_WORDS}",
        rf"(?:ignore|disregard|forget|override){_GAP}(?:your|all|any|the|these|those){_GAP}{_WORDS}",
        r"(?:ignore|disregard|forget) (?:everything|anything|all)(?: that)? (?:above|before|you|i|we|was|said)",
        r"(?:new|updated|revised|real|actual) (?:system )?(?:instructions?|prompt|task|objective)\W{0,3}:",
        r"instead of (?:that|what (?:you|the user)|following)[^.\n]{0,60}(?:you must|you should|do the following)",
        # German, French, Spanish, Italian, Portuguese, Dutch, Russian, Chinese, Japanese
        r"(?:ignoriere?n?|vergiss|vergessen sie|missachte|übergehe)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:vorherigen?|bisherigen?|obigen?|vorigen?|früheren?|alle)(?:\W{1,4}\w{1,14}){0,2}?\W{1,4}(?:anweisungen?|instruktionen?|befehle?|regeln?|vorgaben?)",
        r"(?:ignore[zr]?|oublie[zr]?|ne tiens pas compte|ne tenez pas compte)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:instructions?|consignes?|directives?|règles?)",
        r"(?:ignor[ae]r?|olvid[ae]r?|omite|haz caso omiso)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:instrucciones?|indicaciones?|reglas?|órdenes?)",
        r"(?:ignora(?:re)?|dimentica|trascura)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:istruzioni|direttive|regole|comandi)",
        r"(?:ignor[ea]r?|esqueça|desconsidere)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:instruções|instrucoes|regras|comandos|diretrizes)",
        r"(?:negeer|vergeet)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:instructies|opdrachten|regels|aanwijzingen)",
        r"(?:игнорируй(?:те)?|забудь(?:те)?|не обращай(?:те)? внимания на)(?:\W{1,4}\w{1,14}){0,4}?\W{1,4}(?:инструкци\w{1,4}|указани\w{1,4}|правила?|команды?)",
        r"(?:忽略|无视|無視|忘记|忘掉)[^。\n]{0,12}(?:指令|指示|说明|規則|规则|提示)",
        r"(?:これまで|以前|上記|前)[^。\n]{0,8}(?:指示|命令|ルール)[^。\n]{0,6}(?:無視|忘れ)",
    )
)
_ADDRESSED = "|".join(
    (
        r"(?:if you are|as|dear|attention|hey|note to|message (?:to|for)) (?:an? |the )?(?:ai|llm|language model|assistant|chatbot|gpt|claude|copilot|agent)\b[^.\n]{0,60}(?:you must|you should|please|do|execute|call|send|before|ignore|,)",
        r"you are now (?:in |an? |the )?(?:dan|developer mode|unrestricted|jailbroken|root|admin|new (?:ai|assistant|role|persona))",
        r"(?:do not|don't|never) (?:tell|inform|mention (?:this|it) to|reveal (?:this|it) to|alert|notify) the user",
        r"(?:this is an? )?important (?:message|instruction|notice)s? (?:from|for) (?:me|the user|the system|the assistant|you|your developer)",
        r"(?:reveal|print|repeat|output|show|leak)(?: me)?(?: \w{1,10}){0,2} (?:system prompt|hidden instructions|initial instructions)",
        r"before you (?:can )?(?:solve|answer|continue|proceed|finish|do)[^.\n]{0,80}(?:you must|please|first|do the following)",
        r"(?:pretend|act|behave) (?:to be|as if|as though|as) (?:you (?:are|were)|an? )[^.\n]{0,40}(?:no|without|unrestricted)",
    )
)
_ROLE = (
    r"<\|\s?(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id)\s?\|>"
    r"|\[/?inst\]|<</?sys>>"
    r"|</?(?:system|assistant|instructions?|system[_-]?prompt|system[_-]?reminder|information|important|admin|tool_call|function_calls?)>"
    r"|(?:^|\n)\s{0,4}(?:#{1,4} ?|\*{2})?(?:system|assistant|developer|human)(?: (?:message|prompt|note|instruction|override))?(?:\*{2})?\s{0,2}:"
    r"|\n\n(?:human|assistant):"
)
_FIND = {
    IGNORE: re.compile(_IGNORE), ADDRESSED: re.compile(_ADDRESSED), ROLE: re.compile(_ROLE),
}  # fmt: skip
_HINTS = {
    IGNORE: ("ignor", "disregard", "forget", "overrid", "bypass", "overlook", "skip", "drop", "discard", "follow", "instruct",
             "prompt", "task", "objective", "instead", "verg", "missachte", "übergehe", "oublie", "compte", "olvid", "omit",
             "caso", "dimentica", "trascura", "esque", "desconsid", "negeer", "игнор", "забуд", "обращай", "忽略", "无视",
             "無視", "忘"),
    ADDRESSED: ("if you are", " ai", "llm", "model", "assistant", "agent", "gpt", "claude", "copilot", "you are now", "the user",
                "important", "prompt", "instructions", "before you", "pretend", "act ", "behave", "chatbot"),
    ROLE: ("<", "[", "system", "assistant", "human", "developer"),
}  # fmt: skip
_INVISIBLE = re.compile(f"[\u200b\u2060\ufeff\u180e\u00ad\u200c\u200d{SELECTORS}{FILLERS}]")
_TAGS = re.compile("[\U000e0000-\U000e007f]{1,4000}")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_LETTERS = re.compile(
    f"(?<=[A-Za-z])[\u200b\u2060\ufeff\u180e\u200c\u200d{FILLERS}]{{1,8}}(?=[A-Za-z])"
    "|[\u200b\u2060\ufeff\u180e\u200c]{3,4000}"
    f"|(?<=[A-Za-z])[{SELECTORS}]{{1,4000}}|[{SELECTORS}]{{2,4000}}"
)
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{24,4000}={0,2}")
BLOBS = 60
_ALIKE = str.maketrans("аеорсухіѕјԁԛԝһ", "aeopcyxisjdqwh")  # Cyrillic letters that look Latin
MIXED = re.compile("[a-z][а-яёіѕјԁԛԝһ]|[а-яёіѕјԁԛԝһ][a-z]")


def instructions(only: tuple[str, ...] = ()) -> TextCheck:
    """The check for the language of instructions, or for some of its kinds."""
    wanted = frozenset(only or LABELS)
    return TextCheck(lambda text: (span for span in _spans(text) if span[0] in wanted), LABELS)


def _spans(text: Text) -> Iterator[Span]:
    said = text.text
    if len(said) < 6 or text.number:
        return
    if not said.isascii():
        yield from _hidden(said)
    plain, back = folded(said)
    yield from _phrases(plain, back)
    if MIXED.search(plain):
        yield from _phrases(plain.translate(_ALIKE), back)
    yield from _encoded(said)


def _phrases(plain: str, back: list[int] | None) -> Iterator[Span]:
    for label, form in _FIND.items():
        if any(hint in plain for hint in _HINTS[label]):
            for found in form.finditer(plain):
                start, end = found.span()
                yield (label, start, end) if back is None else (label, back[start], back[end - 1] + 1)


def folded(text: str) -> tuple[str, list[int] | None]:
    """The text in small letters and plain forms, without invisible characters, and where each of its characters was.
    None: where it is."""
    if text.isascii():
        return text.lower(), None
    made: list[str] = []
    back: list[int] = []
    for at, char in enumerate(text):
        for plain in char.lower() if char < "\u0100" else _fold(char):
            made.append(plain)
            back.append(at)
    return "".join(made), back


@functools.lru_cache(maxsize=20_000)
def _fold(char: str) -> str:
    if "\U000e0000" <= char <= "\U000e007f":
        code = ord(char) - 0xE0000
        return chr(code).lower() if code >= 0x20 else ""
    if _INVISIBLE.match(char) or _BIDI.match(char):
        return ""
    return unicodedata.normalize("NFKC", char).lower()


def _hidden(said: str) -> Iterator[Span]:
    for found in _TAGS.finditer(said):
        if found.start() and said[found.start() - 1] == "\U0001f3f4":  # the flags of England, Scotland, Wales
            continue
        yield HIDDEN, *found.span()
    for form in (_LETTERS, _BIDI):
        for found in form.finditer(said):
            yield HIDDEN, *found.span()


def _encoded(said: str) -> Iterator[Span]:
    """Base64 that says something of the kind when it is read."""
    for number, found in enumerate(_BLOB.finditer(said)):
        if number >= BLOBS:
            return
        inner = _decoded(found[0])
        if inner and any(True for _ in _phrases(*folded(inner))):
            yield ENCODED, *found.span()


def _decoded(blob: str) -> str:
    blob = blob.rstrip("=").replace("-", "+").replace("_", "/")
    blob = blob[: len(blob) - (len(blob) % 4 == 1)]
    try:
        text = base64.b64decode(blob + "=" * (-len(blob) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if sum(char.isprintable() or char.isspace() for char in text) > 0.95 * len(text) else ""
