"""Personal data by Microsoft's Presidio, which is an extra: it knows more kinds and, with a language model of spaCy's,
names and places."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from turnout.core.redaction import Text
from turnout.errors import SettingsInvalid
from turnout.guards.reading import Span, TextCheck


def presidio(only: Sequence[str], language: str, model: str, score: float) -> TextCheck:
    """The check. `model` is a spaCy model that is installed; without one only what has a pattern is found. `only` are
    Presidio's names of entities, in any case. Raises `SettingsInvalid`."""
    analyzer = _analyzer(language, model)
    known = {name: _label(name) for name in analyzer.get_supported_entities(language)}
    wanted = [name for name in known if not only or name in only or known[name] in only]
    unknown = [name for name in only if name not in known and name not in known.values()]
    if unknown:
        raise SettingsInvalid(f"presidio has no {unknown[0]!r}; it has {', '.join(sorted(known.values()))}")

    def find(text: Text) -> Iterator[Span]:
        if text.key:
            return
        for found in analyzer.analyze(text.text, language=language, entities=wanted, score_threshold=score):
            yield known[found.entity_type], found.start, found.end

    return TextCheck(find, list(known.values()))


def _label(entity: str) -> str:
    return entity.lower().replace("_", "-")


def _analyzer(language: str, model: str) -> Any:
    try:
        spacy, domains, analyzer, engines = map(
            importlib.import_module,
            ("spacy", "tldextract", "presidio_analyzer", "presidio_analyzer.nlp_engine"),
        )
    except ImportError as error:
        raise SettingsInvalid(
            f"a guardrail with presidio needs {error.name}; run `pip install 'turnout[presidio]'`"
        ) from None
    # It would fetch a newer list of domains from the network; the one that it brings will do.
    domains.tldextract.TLD_EXTRACTOR = domains.TLDExtract(suffix_list_urls=())
    try:
        words = spacy.load(model) if model else spacy.blank(language)
    except (OSError, ImportError) as error:
        raise SettingsInvalid(
            f"presidio: the language model {model or language!r} can't be had: {error}"
        ) from None
    engine = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": model or "blank"}])
    engine.nlp = {language: words}
    return analyzer.AnalyzerEngine(nlp_engine=engine, supported_languages=[language])
