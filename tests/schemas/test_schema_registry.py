"""The registry over HTTP: what is asked of it, and whose fault it is when that goes wrong."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import build_codec, decode_error
from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError, RegistryError, SettingsError
from schemas.schema_registry import registry_client
from schemas.settings import WireSettings

EVENT = ClickstreamEvent(event_id="e", user_id="u", type=EventType.VIEW, time=1, item_id="i")


class Registry(ThreadingHTTPServer):
    """The two requests of the Schema Registry's API that an encoder and a decoder make."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: list[str] = []
        self.requests: list[str] = []
        self.authorization: str | None = None
        self.answer: tuple[int, bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self.answer is not None:
            return self.answer
        if re.fullmatch(r"/subjects/[\w-]+/versions", path):
            self.schemas.append(json.loads(body)["schema"])
            return 200, json.dumps({"id": len(self.schemas)}).encode()
        asked = re.fullmatch(r"/schemas/ids/(\d+)", path)
        if asked and int(asked[1]) <= len(self.schemas):
            return 200, json.dumps({"schema": self.schemas[int(asked[1]) - 1]}).encode()
        return 404, b'{"error_code": 40403, "message": "Schema not found"}'


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.command} {path}")
        self.server.authorization = self.headers.get("Authorization")
        status, answer = self.server.reply(path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def codec_for(url: str):
    properties = {"max.retries": 0, "basic.auth.user.info": "innerloop:secret"}
    return build_codec(
        WireSettings(format="avro", registry_url=url, registry_properties=properties)
    )


def test_a_schema_is_registered_once_and_fetched_once(registry):
    writer, reader = codec_for(registry.url), codec_for(registry.url)
    decode = reader.decoder(ClickstreamEvent)
    values = [writer.encode("clickstream", EVENT) for _ in range(3)]
    assert [decode(value) for value in values] == [EVENT] * 3
    assert registry.requests == ["POST /subjects/clickstream-value/versions", "GET /schemas/ids/1"]
    expected = base64.b64encode(b"innerloop:secret").decode()
    assert registry.authorization == f"Basic {expected}"


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"error_code": 50001, "message": "store is down"}'),
        (401, b'{"error_code": 401, "message": "Unauthorized"}'),
        (429, b"slow down"),
        (200, b"<html>a proxy's page</html>"),
    ],
    ids=["broken", "unauthorised", "busy", "not a registry"],
)
def test_a_registry_that_fails_is_not_the_records_fault(registry, answer):
    codec = codec_for(registry.url)
    value = codec.encode("clickstream", EVENT)
    decode = codec_for(registry.url).decoder(ClickstreamEvent)
    registry.answer = answer
    with pytest.raises(RegistryError):
        decode(value)
    with pytest.raises(RegistryError):
        codec_for(registry.url).encode("clickstream", EVENT)
    registry.answer = None
    assert decode(value) == EVENT


def test_a_registry_out_of_reach_is_not_the_records_fault(registry):
    value = codec_for(registry.url).encode("clickstream", EVENT)
    nobody = codec_for("http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="schema 1"):
        nobody.decoder(ClickstreamEvent)(value)
    with pytest.raises(RegistryError, match="clickstream-value"):
        nobody.encode("clickstream", EVENT)


def test_an_id_unknown_to_the_registry_is_the_records_fault(registry):
    value = b"\0\0\0\0\x07" + b"data"
    with pytest.raises(DecodeError) as caught:
        codec_for(registry.url).decoder(ClickstreamEvent)(value)
    assert decode_error(caught.value, value).reason is DeadLetterReason.UNKNOWN_SCHEMA
    assert "schema 7" in str(caught.value)


@pytest.mark.parametrize("schema", ["", "not json", '{"type": "record"}', '{"type": "no-such"}'])
def test_a_schema_that_is_no_avro_is_the_records_fault(registry, schema):
    registry.schemas.append(schema)
    with pytest.raises(DecodeError) as caught:
        codec_for(registry.url).decoder(ClickstreamEvent)(b"\0\0\0\0\x01" + b"data")
    assert caught.value.reason is DeadLetterReason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(
    ("url", "properties"),
    [
        ("ftp://127.0.0.1", {}),
        ("http://127.0.0.1", {"basic.auth.user.info": "no-colon"}),
        ("http://127.0.0.1", {"max.retries": "many"}),
        ("https://127.0.0.1", {"ssl.ca.location": "/no/such/file.pem"}),
    ],
)
def test_wrong_client_settings_name_themselves(url, properties):
    with pytest.raises(SettingsError, match=r"wire\.registry_"):
        registry_client(url, properties)
