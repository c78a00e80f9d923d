"""A small OpenID Connect issuer over HTTPS: discovery, keys that can be changed, and tokens.

async with running_issuer(tmp_path) as issuer:
    token = issuer.token(sub="jane", aud="kumo")
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from kumo.machinery import tls
from kumo.machinery.http import Request, Response
from kumo.machinery.listener import Listener


@dataclass
class Issuer:
    """`ca` is PEM text; `asked` are the paths that were requested."""

    url: str
    ca: str
    named: str = ""
    """What the discovery document says it is; the URL unless a test wants otherwise."""
    keys: dict[str, RSAKey] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    signing: str = ""
    claims: dict[str, str] = field(default_factory=dict)
    """What is answered at other paths, to who brings the access token `of-claims`: tokens with claims."""

    def rotate(self, name: str) -> None:
        """Sign with a new key from now on; the old ones are not published any more."""
        self.keys = {name: RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})}
        self.signing = name

    def token(self, **claims: Any) -> str:
        """A token that lives an hour, unless the claims say otherwise."""
        now = int(time.time())
        body = {"iss": self.url, "iat": now, "exp": now + 3600, **claims}
        header = {"alg": "RS256", "kid": self.signing}
        return jwt.encode(header, body, self.keys[self.signing], algorithms=["RS256"])

    async def answer(self, request: Request) -> Response:
        """Discovery and keys."""
        self.asked.append(request.path)
        found: dict[str, Any]
        if request.path == "/.well-known/openid-configuration":
            found = {"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys"}
        elif request.path == "/keys":
            found = {"keys": [key.as_dict(private=False) for key in self.keys.values()]}
        elif request.path in self.claims:
            if request.headers.get("authorization") != "Bearer of-claims":
                return Response(401)
            return Response(200, self.claims[request.path].encode(), "application/jwt")
        else:
            return Response(404)
        return Response(200, json.dumps(found).encode())


@asynccontextmanager
async def running_issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    """Start an issuer on a free port of the loopback."""
    pki = tmp_path / "issuer"
    pki.mkdir(exist_ok=True)
    ca = tls.ensure_ca(pki, common_name="issuer-ca")
    pair = tls.ensure_certificate(
        ca, pki, "server", common_name="issuer", names=["127.0.0.1"], server=True, client=False
    )
    issuer = Issuer("", ca.pem.decode())
    listener = Listener(issuer.answer, tls=tls.server_context(pair), grace=0.2)
    await listener.start()
    issuer.url = listener.url
    issuer.rotate("first")
    try:
        yield issuer
    finally:
        await listener.stop()
