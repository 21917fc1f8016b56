"""What the tests of the trading API share: a key that signs by Kraken's published recipe, and its calls."""

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import attrs
from sandbox_kit import Answered, Kit

PRIVATE = ("GetApiKeyInfo", "Balance", "BalanceEx", "Ledgers", "GetWebSocketsToken")

INVALID_KEY = ["EAPI:Invalid key"]
INVALID_SIGNATURE = ["EAPI:Invalid signature"]
INVALID_NONCE = ["EAPI:Invalid nonce"]
PERMISSION_DENIED = ["EGeneral:Permission denied"]
LOCKOUT = ["EGeneral:Temporary lockout"]


def signature(secret: str, path: str, nonce: str, body: bytes) -> str:
    """Sign as Kraken's guide does in Python, which shares nothing with the sandbox."""
    message = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.new(base64.b64decode(secret), message, hashlib.sha512).digest()).decode()


@attrs.frozen
class Signed:
    """A request that is ready to be sent, or to be spoilt first."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    def without(self, header: str) -> "Signed":
        """Return it without a header."""
        return attrs.evolve(self, headers={name: value for name, value in self.headers.items() if name != header})

    def having(self, **headers: str) -> "Signed":
        """Return it with other headers: ``API_Sign`` is API-Sign."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return attrs.evolve(self, headers={**self.headers, **changed})


@attrs.define
class Trader:
    """A key in use."""

    kit: Kit
    api_key: str
    secret: str = attrs.field(repr=False)
    nonce: int = 1_800_000_000_000

    def signed(self, method: str, nonce: object = None, **parameters: str) -> Signed:
        """Return a request as a form; without a nonce, it takes the next one."""
        if nonce is None:
            self.nonce += 1
            nonce = self.nonce
        return self.signed_body(method, str(nonce), urlencode({"nonce": nonce, **parameters}).encode())

    def signed_json(self, method: str, nonce: object, **parameters: Any) -> Signed:
        """Return a request as JSON."""
        body = json.dumps({"nonce": nonce, **parameters}).encode()
        return self.signed_body(method, str(nonce), body, "application/json")

    def signed_body(
        self, method: str, nonce: str, body: bytes, media_type: str = "application/x-www-form-urlencoded; charset=utf-8"
    ) -> Signed:
        """Return a request with any body."""
        path = f"/0/private/{method}"
        sign = signature(self.secret, path, nonce, body)
        return Signed(path, body, {"API-Key": self.api_key, "API-Sign": sign, "Content-Type": media_type})

    async def send(self, request: Signed) -> Answered:
        """Send a request; whatever is answered, its status is 200."""
        url = self.kit.sandbox.api_url + request.path
        async with self.kit.session.post(url, data=io.BytesIO(request.body), headers=request.headers) as response:
            assert 200 == response.status
            assert "application/json" == response.content_type
            return Answered(response.status, response.headers, await response.read())

    async def call(self, method: str, nonce: object = None) -> Any:
        """Call a method that is to succeed, and return its result."""
        answered = await self.send(self.signed(method, nonce))
        assert [] == answered.json["error"]
        assert {"error", "result"} == set(answered.json)
        return answered.json["result"]

    async def errors(self, request: Signed | str, nonce: object = None) -> list[str]:
        """Send a request, or call a method; return the errors, of which there may be none."""
        answered = await self.send(self.signed(request, nonce) if isinstance(request, str) else request)
        errors: list[str] = answered.json["error"]
        assert not errors or {} == answered.json["result"]
        return errors


async def new_trader(kit: Kit, name: str = "bot", **fields: Any) -> Trader:
    """Create a key, with the permission to ask for balances unless told otherwise."""
    result = (await kit.create(name, **{"permissions": {"funds_query": True}, **fields})).result
    return Trader(kit, result["api_key"], result["secret"])
