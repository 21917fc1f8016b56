"""What the token endpoint answers: a form in, a pair of tokens out. No I/O."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from kraken_fastkey.sandbox._clients import Client, ClientBook
from kraken_fastkey.sandbox._forms import FORM, read_form, write_form
from kraken_fastkey.sandbox._grants import GrantBook, TokenPair
from kraken_fastkey.sandbox._messages import Call, Reply, json_reply
from kraken_fastkey.sandbox._refusal import TokenRefusalError

TokenMediaType: TypeAlias = Literal["application/json", "application/x-www-form-urlencoded"]
"""How the token endpoint may answer: as Kraken does, or as its description says."""

# RFC 6749 section 5.1.
_HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenEndpoint:
    """Answers token requests.

    Args:
        clients: The apps.
        grants: What users have granted to them.
        media_type: How a pair of tokens is answered; refusals are always JSON.

    Raises:
        ValueError: if ``media_type`` is neither of the two.
    """

    def __init__(self, clients: ClientBook, grants: GrantBook, media_type: TokenMediaType) -> None:
        if media_type not in ("application/json", FORM):
            raise ValueError(f"token_media_type must be application/json or {FORM}")
        self._clients = clients
        self._grants = grants
        self._media_type = media_type

    def answer(self, call: Call) -> Reply:
        """Carry out a token request, and return its answer; the client is looked at before the form is."""
        try:
            client = self._clients.authenticate(call.authorization)
            return self._tell(self._pair(client, _read(call)))
        except TokenRefusalError as refusal:
            return _refused(refusal)

    def _pair(self, client: Client, values: Mapping[str, str]) -> TokenPair:
        if values.get("client_id", client.client_id) != client.client_id:
            raise _invalid_request("client_id is not the one in the Authorization header")
        match _required(values, "grant_type"):
            case "authorization_code":
                code, redirect_uri = _required(values, "code"), _required(values, "redirect_uri")
                return self._grants.redeem(client, code, redirect_uri, values.get("code_verifier"))
            case "refresh_token":
                return self._grants.refresh(client, _required(values, "refresh_token"))
            case _:
                raise TokenRefusalError(
                    "unsupported_grant_type", "grant_type must be authorization_code or refresh_token"
                )

    def _tell(self, pair: TokenPair) -> Reply:
        content = {
            "access_token": pair.access_token,
            "token_type": "bearer",
            "expires_in": pair.expires_in,
            "refresh_token": pair.refresh_token,
            "scope": " ".join(sorted(pair.scopes)),
        }
        if self._media_type == FORM:
            encoded = write_form((name, str(value)) for name, value in content.items())
            return Reply(200, encoded.encode(), FORM, _HEADERS)
        return json_reply(200, content, _HEADERS)


def _read(call: Call) -> Mapping[str, str]:
    """Return the form's values; nothing may be in the query, where servers log it (RFC 6749 section 2.3.1)."""
    if call.query:
        raise _invalid_request("Parameters go into the body, not into the URL")
    if call.media_type != FORM:
        raise _invalid_request(f"The body must be {FORM}")
    form = read_form(call.body)
    if form.repeated:
        raise _invalid_request("A parameter is there more than once")
    if "client_secret" in form.values:
        raise _invalid_request("client_secret goes into the Authorization header alone")
    return form.values


def _required(values: Mapping[str, str], name: str) -> str:
    try:
        return values[name]
    except KeyError:
        raise _invalid_request(f"{name} is missing") from None


def _invalid_request(description: str) -> TokenRefusalError:
    return TokenRefusalError("invalid_request", description)


def _refused(refusal: TokenRefusalError) -> Reply:
    """Return the answer that refuses a request (RFC 6749 section 5.2)."""
    content = {"error": refusal.error, "error_description": refusal.description}
    if refusal.error != "invalid_client":
        return json_reply(400, content, _HEADERS)
    return json_reply(401, content, {**_HEADERS, "WWW-Authenticate": 'Basic realm="kraken-sandbox"'})
