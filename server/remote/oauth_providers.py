"""FastMCP's OAuth providers, which let in only the users that the settings list.

FastMCP keeps what clients register and what the provider issues; this module issues nothing. It
takes a third of a second to import, and is not imported unless OAuth is on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx2
from cryptography.fernet import Fernet
from fastmcp.server.auth import AccessToken, OAuthProxy
from fastmcp.server.auth.jwt_issuer import derive_jwt_key
from fastmcp.server.auth.oidc_proxy import OIDCConfiguration, OIDCProxy
from fastmcp.server.auth.providers.github import GitHubProvider
from fastmcp.server.auth.providers.google import GoogleProvider
from key_value.aio.protocols import AsyncKeyValue
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper
from pydantic import AnyHttpUrl

from server.remote.oauth import OAuthSettings
from server.remote.tokens import TokenError, make_private
from server.values import SettingError

#: Seconds for which an answer of GitHub or Google about a token is believed; they are asked with
#: every request otherwise.
_BELIEVED = 60
_DISCOVERY = 10
_ISSUERS = {"github": "https://github.com", "google": "https://accounts.google.com"}

logger = logging.getLogger("rmi.oauth")


class _ForUsers(OAuthProxy):
    """Comes before a provider's class and lets in whom the settings list."""

    settings: OAuthSettings

    async def verify_token(self, token: str) -> AccessToken | None:
        """Who a token is of; None when it is wrong, or its user is not listed.

        The claims are `iss`, `sub` and, as far as the provider vouches for them, `login` and
        `email`. The provider's own token, with which more could be read there, is left out.
        """
        found = await super().verify_token(token)
        if found is None:
            return None
        claims = dict(found.claims or {})
        claims.setdefault("iss", _ISSUERS.get(self.settings.provider))
        subject = claims.get("sub")
        if not (claims["iss"] and isinstance(subject, str) and subject):
            return None
        if not admitted(self.settings, claims):
            who = {name: claims.get(name) for name in ("sub", "login", "email")}
            logger.warning("a user whom RMI_OAUTH_USERS does not list", extra={"facts": who})
            return None
        kept = ["iss", "sub", "login"] + ["email"] * _verified(claims)
        return AccessToken(
            token="",
            client_id=found.client_id,
            scopes=found.scopes,
            expires_at=found.expires_at,
            subject=subject,
            claims={name: claims[name] for name in kept if claims.get(name)},
        )


class _GitHub(_ForUsers, GitHubProvider):
    pass


class _Google(_ForUsers, GoogleProvider):
    pass


class _OIDC(_ForUsers, OIDCProxy):
    def get_oidc_configuration(
        self, config_url: AnyHttpUrl, strict: bool | None, timeout_seconds: int | None
    ) -> OIDCConfiguration:
        """As FastMCP's, whose failure is a traceback in the log. Raises `SettingError`."""
        try:
            response = httpx2.get(str(config_url), timeout=timeout_seconds)
            response.raise_for_status()
            return OIDCConfiguration.model_validate(response.json())
        except httpx2.HTTPStatusError as error:
            reason = f"it answers {error.response.status_code}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = str(error).rstrip(".") or type(error).__name__
        except ValueError:
            reason = "it is no complete discovery document of OpenID Connect"
        raise SettingError(f"RMI_OAUTH_URL is {str(config_url)!r}: {reason}.")


def admitted(settings: OAuthSettings, claims: dict[str, Any]) -> bool:
    """Whether the settings list the user of whom the provider says this."""
    if settings.provider == "github":
        return _folded(claims.get("login")) in map(_folded, settings.users)
    if claims.get("sub") in settings.users:
        return True
    return _verified(claims) and _folded(claims.get("email")) in map(_folded, settings.users)


def _verified(claims: dict[str, Any]) -> bool:
    """Whether the e-mail address is not just what the user typed. Google says it as a word, too."""
    return claims.get("email_verified") in (True, "true")


def _folded(name: object) -> str | None:
    """For comparison without regard to case; other alphabets have letters that become ours."""
    if not isinstance(name, str) or not name:
        return None
    return name.lower() if name.isascii() else name


def oauth_provider(settings: OAuthSettings, directory: Path) -> OAuthProxy:
    """The provider. What it stores goes into `directory`, encrypted. Raises `SettingError`."""
    common: dict[str, Any] = {
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
        "base_url": settings.public_url,
        "client_storage": _storage(directory, settings.client_secret),
    }
    provider: _ForUsers
    if settings.provider == "github":
        provider = _GitHub(**common, required_scopes=["read:user"], cache_ttl_seconds=_BELIEVED)
    elif settings.provider == "google":
        provider = _Google(
            **common, required_scopes=["openid", "email"], cache_ttl_seconds=_BELIEVED
        )
    else:
        # What else providers issue is for them alone to read; the ID token says who it is.
        provider = _OIDC(
            **common,
            config_url=settings.url,
            required_scopes=["openid", "email"],
            verify_id_token=True,
            timeout_seconds=_DISCOVERY,
        )
    provider.settings = settings
    return provider


def _storage(directory: Path, secret: str) -> AsyncKeyValue:
    """As FastMCP's default, in a folder of ours."""
    try:
        make_private(directory)
    except TokenError as error:
        raise SettingError(f"RMI_STATE_DIR: {error}") from None
    store = FileTreeStore(
        data_directory=directory,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(directory),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(directory),
    )
    key = derive_jwt_key(high_entropy_material=secret, salt="rmi-agent-mcp-server-oauth")
    return FernetEncryptionWrapper(
        key_value=store, fernet=Fernet(key), raise_on_decryption_error=False
    )
