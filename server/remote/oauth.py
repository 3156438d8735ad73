"""Settings of logins over OAuth, for hosts that know no other way in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from server.values import SettingError, text, words

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class OAuthSettings:
    """Who vouches for users, and which of them may come in. The comment names the variable."""

    provider: str  # RMI_OAUTH: github, google or oidc
    client_id: str  # RMI_OAUTH_CLIENT_ID
    client_secret: str = field(repr=False)  # RMI_OAUTH_CLIENT_SECRET
    #: The provider's discovery document; "" where the provider is known.
    url: str  # RMI_OAUTH_URL
    #: Scheme, host and port under which clients reach the server; no path.
    public_url: str  # RMI_PUBLIC_URL
    #: Logins of GitHub; e-mail addresses or subjects otherwise.
    users: tuple[str, ...]  # RMI_OAUTH_USERS

    @property
    def host(self) -> str:
        """The host name in `public_url`, by which clients and browsers call the server."""
        return urlsplit(self.public_url).hostname or ""


def oauth_settings(values: Mapping[str, str]) -> OAuthSettings | None:
    """The settings; None: OAuth is off. Raises `SettingError`."""
    provider = text(values, "RMI_OAUTH")
    if not provider:
        return None
    if provider not in ("github", "google", "oidc"):
        raise SettingError(
            f"RMI_OAUTH is {provider!r}; it must be github, google or oidc, or not be set."
        )
    url = ""
    if provider == "oidc":
        url = _needed(values, "RMI_OAUTH_URL", "the address of the provider's discovery document")
        _check_url("RMI_OAUTH_URL", url)
    elif text(values, "RMI_OAUTH_URL"):
        raise SettingError(
            f"RMI_OAUTH_URL is for RMI_OAUTH=oidc only; RMI_OAUTH is {provider}, which needs none."
        )
    return OAuthSettings(
        provider,
        _needed(values, "RMI_OAUTH_CLIENT_ID", f"what {provider} gave you for your application"),
        _needed(values, "RMI_OAUTH_CLIENT_SECRET", f"what {provider} gave you with the client id"),
        url,
        _public_url(values),
        _users(values, provider),
    )


def _needed(values: Mapping[str, str], name: str, what: str) -> str:
    value = text(values, name)
    if not value:
        raise SettingError(f"{name} is not set; RMI_OAUTH needs it: {what}.")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SettingError(f"{name} must be plain characters without blanks.")
    return value


def _check_url(name: str, url: str) -> None:
    # It takes a while to import, and is there already when a server starts.
    from pydantic import AnyHttpUrl

    if "@" in url.partition("?")[0]:
        raise SettingError(f"{name} must have no user and password in it.")
    try:
        parts = urlsplit(url)
        AnyHttpUrl(url)
    except ValueError:
        raise SettingError(f"{name} is {url!r}, which is no URL.") from None
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not known or not parts.hostname or "#" in url:
        raise SettingError(
            f"{name} is {url!r}; it must begin with https:// and a host name "
            "(http:// for this machine alone) and have no #."
        )


def _public_url(values: Mapping[str, str]) -> str:
    url = _needed(
        values, "RMI_PUBLIC_URL", "the https URL under which clients reach the server"
    ).rstrip("/")
    _check_url("RMI_PUBLIC_URL", url)
    parts = urlsplit(url)
    if parts.path or parts.query or "?" in url:
        raise SettingError(
            f"RMI_PUBLIC_URL is {url!r}; it must have no path, as https://mcp.example.com has none."
        )
    return url


def _users(values: Mapping[str, str], provider: str) -> tuple[str, ...]:
    found = words(values, "RMI_OAUTH_USERS")
    if not found:
        raise SettingError(
            "RMI_OAUTH_USERS is not set; without it everybody who has an account there could run "
            "code here. List those who may come in, separated by commas."
        )
    for user in found:
        if provider == "github" and not _LOGIN.fullmatch(user):
            raise SettingError(f"RMI_OAUTH_USERS has {user!r}, which is no login of GitHub.")
        if provider == "google" and not (_EMAIL.fullmatch(user) or user.isdigit()):
            raise SettingError(
                f"RMI_OAUTH_USERS has {user!r}, which is neither an e-mail address nor a subject "
                "(digits) of Google."
            )
        if "*" in user:
            raise SettingError(f"RMI_OAUTH_USERS has {user!r}; each user must be listed in full.")
    return found
