"""The documents that describe the messages and settings to others, generated from their types.

`schemas/files` and `docs/configuration.md` are stored copies; `innerloop schemas` writes them and
the tests compare them, so a type cannot change without its documents.
"""

from __future__ import annotations

import json
from pathlib import Path

from schemas.documents.asyncapi import asyncapi_document
from schemas.documents.avro import avro_document
from schemas.documents.json_schema import json_schema_document
from schemas.message_types import MESSAGES, WIRE_MESSAGES, avro_schema_file, json_schema_file

__all__ = ["ASYNCAPI_FILE", "differences", "message_documents", "write_documents"]

ASYNCAPI_FILE = "asyncapi.yaml"


def message_documents() -> dict[str, str]:
    """Return every document of the messages: file name → content."""
    documents = {
        json_schema_file(message): _json(json_schema_document(message)) for message in MESSAGES
    }
    documents |= {
        avro_schema_file(message): _json(avro_document(message)) for message in WIRE_MESSAGES
    }
    documents[ASYNCAPI_FILE] = asyncapi_document()
    return documents


def differences(folder: Path) -> list[str]:
    """Return, in words, where the files of a folder are not what the types say; [] if nowhere."""
    wanted = message_documents()
    found = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    missing = [f"{name} is missing" for name in wanted if name not in found]
    stray = [f"{name} describes no message" for name in found if name not in wanted]
    changed = [
        f"{name} is not what the types say"
        for name, content in wanted.items()
        if name in found and found[name].read_text(encoding="utf-8") != content
    ]
    return sorted([*missing, *stray, *changed])


def write_documents(folder: Path) -> list[Path]:
    """Write every document into a folder, made if need be; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in message_documents().items():
        path = folder / name
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
