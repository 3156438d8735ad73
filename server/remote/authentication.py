"""Who may come in: the parts of FastMCP that check the credentials of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastmcp.server.auth import AccessToken, AuthProvider, MultiAuth, TokenVerifier
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Route

from server.remote.oauth import OAuthSettings
from server.remote.tokens import Tokens

#: The one path for which logins over OAuth are.
_RESOURCE = "/mcp"


def provider(
    tokens: Tokens, oauth: OAuthSettings | None = None, directory: Path | None = None
) -> AuthProvider:
    """What lets in those who have a token, and the users of `oauth`, if there is one.

    `directory` is where OAuth keeps what it must; needed with `oauth` only. Raises `SettingError`
    when OAuth cannot be set up; with RMI_OAUTH=oidc the provider is asked for its addresses here,
    which may take ten seconds.
    """
    if oauth is None:
        return _ByToken(tokens)
    from server.remote.oauth_providers import oauth_provider

    assert directory is not None
    return _ByTokenOrLogin(_ByToken(tokens), oauth_provider(oauth, directory))


class _OneCredential(BearerAuthBackend):
    """Of two credentials, one could be checked here and the other by a proxy before us."""

    async def authenticate(self, conn: HTTPConnection) -> Any:
        if len(conn.headers.getlist("authorization")) > 1:
            return None
        return await super().authenticate(conn)


class _Strict(AuthProvider):
    def get_middleware(self) -> list[Middleware]:
        return [
            Middleware(AuthenticationMiddleware, backend=_OneCredential(self)),
            Middleware(AuthContextMiddleware),
        ]


class _ByToken(_Strict, TokenVerifier):
    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    async def verify_token(self, token: str) -> AccessToken | None:
        """The client is the token's name. The token itself goes no further than this."""
        name = self._tokens.owner(token)
        return None if name is None else AccessToken(token="", client_id=name, scopes=[])


class _ByTokenOrLogin(_Strict, MultiAuth):
    def __init__(self, by_token: _ByToken, oauth: AuthProvider) -> None:
        # Tokens have no scopes; those of a login are the provider's to check.
        super().__init__(
            server=oauth,
            verifiers={"token": by_token},
            server_source_id="oauth",
            required_scopes=[],
        )
        self._by_token = by_token

    async def verify_token(self, token: str) -> AccessToken | None:
        """Tokens first: their check is the cheaper one, and their names stay as they are. No name
        of a token can be the client of a login, which `MultiAuth` puts in brackets."""
        return await self._by_token.verify_token(token) or await super().verify_token(token)

    # Each of the server's applications asks for the routes of its own path, and the last one that
    # asked would be what logins are for.

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        return super().get_routes(_RESOURCE)

    def get_well_known_routes(self, mcp_path: str | None = None) -> list[Route]:
        return super().get_well_known_routes(_RESOURCE)

    def set_mcp_path(self, mcp_path: str | None) -> None:
        super().set_mcp_path(_RESOURCE)
