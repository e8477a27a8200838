"""What the collector answers where it does not accept: problem details after RFC 9457."""

from __future__ import annotations

import logging
import math
import traceback
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.plugins.problem_details import ProblemDetailsException

from producer.collector.payload import PayloadError

_LOG = logging.getLogger(__name__)
_URN = "urn:innerloop:problem:"
_MOST_ERRORS = 20
_MOST_FRAMES = 6

MEDIA_TYPE = "application/problem+json"

Problem = ProblemDetailsException


def problem(status: int, kind: str, title: str, detail: str = "", **more: Any) -> Problem:  # noqa: ANN401
    """Return a problem to raise.

    Args:
        status: of the answer.
        kind: the last part of the problem's `type`, a URN.
        title: what is wrong, the same for all problems of the kind.
        detail: what is wrong this time.
        more: further members; `headers` are those of the answer.
    """
    headers = {"Cache-Control": "no-store", **more.pop("headers", {})}
    return ProblemDetailsException(
        detail=detail or title,
        status_code=status,
        type_=_URN + kind,
        title=title,
        headers=headers,
        extra=more or None,
    )


def malformed(detail: str) -> Problem:
    """The body is nothing that can be read."""
    return problem(400, "malformed-body", "The body cannot be read", detail)


def invalid(errors: list[PayloadError]) -> Problem:
    """Events of the payload are wrong; none of the request is published."""
    shown = [
        {
            **({} if error.index is None else {"index": error.index}),
            "field": error.path,
            "detail": str(error),
        }
        for error in errors[:_MOST_ERRORS]
    ]
    first = errors[0]
    where = f"event {first.index}: " if first.index is not None else ""
    field = f"{first.path}: " if first.path and not str(first).startswith(first.path) else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return problem(
        400,
        "invalid-events",
        "Events are not what they have to be; none was published",
        f"{where}{field}{first}{more}",
        errors=shown,
    )


def unauthorized() -> Problem:
    """There is no write key, or none that may write."""
    return problem(
        401,
        "write-key",
        "A write key is needed",
        "send one as Authorization: Bearer KEY, as X-Write-Key, as the query parameter write_key, "
        "or in the body",
        headers={"WWW-Authenticate": 'Bearer realm="collector"'},
    )


def forbidden_origin() -> Problem:
    """The page that sends may not."""
    return problem(
        403,
        "origin",
        "Pages of this origin may not send events",
        "the setting collector.allowed_origins names those that may",
    )


def too_many(detail: str, retry_after: float) -> Problem:
    """More than the limits allow."""
    return problem(
        429,
        "rate-limit",
        "Too many requests or events",
        detail,
        headers={"Retry-After": str(max(1, math.ceil(retry_after)))},
    )


def unavailable(detail: str, retry_after: int) -> Problem:
    """The brokers do not acknowledge."""
    return problem(
        503,
        "brokers",
        "The brokers do not acknowledge; try again with the same event ids",
        detail,
        headers={"Retry-After": str(retry_after)},
    )


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework itself refuses."""
    if isinstance(error, ProblemDetailsException):
        return error.to_response(request)
    kind = {404: "not-found", 405: "method", 413: "too-large"}.get(error.status_code, "http")
    if error.status_code >= 500:
        return on_exception(request, error)
    given = problem(error.status_code, kind, error.detail)
    given.headers = {**(error.headers or {}), **(given.headers or {})}
    return given.to_response(request)


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer what nobody foresaw, and log where: not its message, which may hold a user's text."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    _LOG.error("unexpected %s in %s", type(error).__name__, where)
    return problem(500, "internal", "An error of the collector").to_response(request)
