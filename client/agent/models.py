"""Which model answers: its provider, its key, its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from client.agent.errors import AgentError
from client.mcp_client import is_http

if TYPE_CHECKING:
    from pydantic_ai.models import Model


@dataclass(frozen=True)
class Provider:
    """A provider: its name for people, where its key and its address may stand, and the model that
    is taken when none is named."""

    title: str
    keys: tuple[str, ...]
    address: str
    default: str


PROVIDERS = {
    "anthropic": Provider(
        "Anthropic", ("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL", "claude-sonnet-5-5"
    ),
    "openai": Provider("OpenAI", ("OPENAI_API_KEY",), "OPENAI_BASE_URL", "gpt-6.1-terra"),
    "google": Provider(
        "Google", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "GOOGLE_GEMINI_BASE_URL", "gemini-3.8-flash"
    ),
}
#: Other names of a provider, and the API of OpenAI's that they mean.
_NAMES = {"gemini": "google", "openai-chat": "openai", "openai-responses": "openai"}


@dataclass(frozen=True)
class Choice:
    """A model that was chosen."""

    provider: str
    model: str
    #: "" for a local model that needs none.
    key: str = field(repr=False)
    #: "": the provider's own.
    base_url: str = ""
    #: OpenAI's older API, chat completions, which is the one that others speak, too.
    chat: bool = False

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        kind = self.provider
        if kind == "openai" and self.chat != bool(self.base_url):
            kind = "openai-chat" if self.chat else "openai-responses"
        return f"{kind}:{self.model}"

    @property
    def title(self) -> str:
        """The provider in a sentence."""
        if self.provider == "openai" and self.base_url:
            return f"The model server {urlsplit(self.base_url).netloc}"
        return PROVIDERS[self.provider].title

    @property
    def variable(self) -> str:
        """Where the key is set."""
        return PROVIDERS[self.provider].keys[0]


def choose(values: Mapping[str, str], model: str | None, base_url: str | None = None) -> Choice:
    """The model that is asked for, by `PROVIDER:MODEL`, else by RMI_MODEL, else by the key that is
    set. Raises `AgentError`."""
    named = (model or values.get("RMI_MODEL", "")).strip()
    if not named:
        named = _by_key(values)
    kind, colon, name = named.partition(":")
    provider = _NAMES.get(kind, kind)
    if not colon or not name.strip() or provider not in PROVIDERS:
        raise AgentError(
            f"{named!r} is no model; name one as openai:MODEL, anthropic:MODEL or google:MODEL."
        )
    facts = PROVIDERS[provider]
    address = _address(base_url or values.get(facts.address, ""), facts.address)
    key = next((found for one in facts.keys if (found := values.get(one, "").strip())), "")
    if not key and not (address and provider == "openai"):
        raise AgentError(
            f"There is no key for {facts.title}: set {facts.keys[0]} in the environment or in .env."
        )
    if not all("!" <= character <= "~" for character in key):
        raise AgentError(f"{facts.keys[0]} has a space or another character that no key has.")
    chat = kind == "openai-chat" or (kind == "openai" and bool(address))
    return Choice(provider, name.strip(), key, address, chat)


def _by_key(values: Mapping[str, str]) -> str:
    for name, provider in PROVIDERS.items():
        if any(values.get(key, "").strip() for key in provider.keys):
            return f"{name}:{provider.default}"
    raise AgentError(
        "There is no key: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY in the "
        "environment or in .env."
    )


def _address(text: str, variable: str) -> str:
    text = text.strip()
    if not text:
        return ""
    if not is_http(text):
        raise AgentError(
            f"--base-url (or {variable}) is no address of a model server; one looks like "
            "http://127.0.0.1:11434/v1."
        )
    return text


def build(choice: Choice) -> Model:
    """The model, ready to be asked. It asks once; who asks again, and when, is ours to say."""
    address = choice.base_url or None
    if choice.provider == "anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        theirs = AsyncAnthropic(api_key=choice.key, base_url=address, max_retries=0)
        return AnthropicModel(choice.model, provider=AnthropicProvider(anthropic_client=theirs))
    if choice.provider == "google":
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        google = GoogleProvider(api_key=choice.key, base_url=address)
        return GoogleModel(choice.model, provider=google)
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    # Local servers take any key, and the SDK takes no empty one.
    client = AsyncOpenAI(api_key=choice.key or "none", base_url=address, max_retries=0)
    kind = OpenAIChatModel if choice.chat else OpenAIResponsesModel
    return kind(choice.model, provider=OpenAIProvider(openai_client=client))


async def close(model: Model) -> None:
    """Close the model's connections. In the event loop in which it was asked."""
    async with model:
        pass  # leaving it closes what pydantic-ai has opened, as for Google
    client = getattr(model, "client", None)
    if (shut := getattr(client, "close", None)) is not None and not hasattr(client, "aio"):
        await shut()
