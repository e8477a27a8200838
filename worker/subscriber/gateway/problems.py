"""What the gateway answers where it has nothing to give: problem details after RFC 9457."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.plugins.problem_details import ProblemDetailsException

_LOG = logging.getLogger(__name__)
_URN = "urn:innerloop:problem:"
_MOST_FRAMES = 6
_RETRY_AFTER_S = "5"

MEDIA_TYPE = "application/problem+json"

Problem = ProblemDetailsException


def problem(status: int, kind: str, title: str, detail: str = "", **headers: str) -> Problem:
    """Return a problem to raise.

    Args:
        status: of the answer.
        kind: the last part of the problem's `type`, a URN.
        title: what is wrong, the same for all problems of the kind.
        detail: what is wrong this time.
        headers: of the answer, with _ for -.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProblemDetailsException(
        detail=detail or title,
        status_code=status,
        type_=_URN + kind,
        title=title,
        headers={"Cache-Control": "no-store", **named},
    )


def unauthorized(detail: str) -> Problem:
    """There is no token, or none that is good."""
    return problem(
        401,
        "token",
        "A token for this user is needed",
        f"{detail}; send one as Authorization: Bearer TOKEN, or as the query parameter token",
        WWW_Authenticate='Bearer realm="recommendations"',
    )


def other_user() -> Problem:
    """The token is another user's."""
    return problem(403, "other-user", "The token is not for this user")


def none_yet() -> Problem:
    """Nothing is known of the user."""
    return problem(404, "no-recommendation", "There is no recommendation for this user yet")


def too_many_of_address() -> Problem:
    """One address has as many streams as it may."""
    return problem(
        429,
        "streams",
        "Too many streams from this address",
        "the setting gateway.max_streams_per_address says how many",
        Retry_After=_RETRY_AFTER_S,
    )


def unavailable(detail: str) -> Problem:
    """The gateway has as many streams as it may, or does not follow the topic."""
    return problem(
        503, "unavailable", "The gateway cannot serve this now", detail, Retry_After=_RETRY_AFTER_S
    )


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework itself refuses."""
    if isinstance(error, ProblemDetailsException):
        return error.to_response(request)
    if error.status_code >= 500:
        return on_exception(request, error)
    kind = {404: "not-found", 405: "method"}.get(error.status_code, "request")
    # What the framework says of a parameter shows the address, which may hold a token.
    title = {"not-found": "There is nothing here", "method": "This method is not allowed"}
    given = problem(error.status_code, kind, title.get(kind, "The request is wrong"))
    given.headers = {**(error.headers or {}), **(given.headers or {})}
    return given.to_response(request)


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer what nobody foresaw, and log where: not its message, which may hold an id."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    _LOG.error("unexpected %s in %s", type(error).__name__, where)
    return problem(500, "internal", "An error of the gateway").to_response(request)
