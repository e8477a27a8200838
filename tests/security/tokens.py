"""Who gives out OAuth tokens: an endpoint for client credentials, and the keys to check them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "kafka"
ISSUER = "https://tokens.test"
_KEY_ID = "key-1"
_LIFE_S = 3600


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenSigner:
    """Makes signed tokens (RS256); writes the public key as a key set for the brokers."""

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID}
        key |= {"n": _b64(modulus), "e": _b64(numbers.e.to_bytes(3, "big"))}
        self.key_set = folder / "jwks.json"
        self.key_set.write_text(json.dumps({"keys": [key]}))

    def token(self, subject: str) -> str:
        """Return a token of who `subject` is; brokers take it for an hour."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        claims = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "scope": "kafka"}
        claims |= {"iat": now, "exp": now + _LIFE_S}
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_b64(signature)}"


@dataclass
class TokenEndpoint:
    """A running endpoint."""

    url: str
    secret: str
    """Of every client."""
    life_s: float | None = _LIFE_S
    """How long it says that tokens live; None if it does not say."""
    content: bytes | None = None
    """What it answers instead of tokens."""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    """The form of each request so far."""


@contextmanager
def serve_tokens(signer: TokenSigner, secret: str) -> Iterator[TokenEndpoint]:
    """Give tokens to clients who know the secret; the client's id becomes the subject."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            endpoint.asked.append(parse_qs(form.decode()))
            scheme, _, given = self.headers.get("Authorization", "").partition(" ")
            client, _, password = base64.b64decode(given).decode().partition(":")
            known = scheme == "Basic" and password == endpoint.secret
            token = {"access_token": signer.token(client), "token_type": "Bearer"}
            token |= {} if endpoint.life_s is None else {"expires_in": endpoint.life_s}
            body = json.dumps(token if known else {"error": "invalid_client"}).encode()
            body = body if endpoint.content is None else endpoint.content
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = TokenEndpoint(f"http://127.0.0.1:{server.server_port}/token", secret)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
