"""From the terms of turnout.toml to models."""

from __future__ import annotations

from turnout.models.anthropic_messages import AnthropicMessages
from turnout.models.gateway import Gateways, Upstream
from turnout.models.openai_chat import OpenAIChat
from turnout.models.openai_responses import OpenAIResponses
from turnout.models.schema import Deployment, ModelSettings
from turnout.ports.clock import Chance, Clock


def connect(name: str, terms: Deployment) -> Upstream:
    """The upstream of a deployment. Raises `CredentialsRefused` when its key isn't in the environment."""
    if terms.provider == "anthropic":
        return AnthropicMessages(name, terms)
    return OpenAIResponses(name, terms) if terms.api == "responses" else OpenAIChat(name, terms)


def gateways(settings: ModelSettings, clock: Clock, chance: Chance) -> Gateways:
    """The gateways of a file's aliases."""
    return Gateways(settings, clock, chance, connect)
