"""HTTP replies every part of the hub uses."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from edge_node.protocol import addresses

log = logging.getLogger(__name__)

HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
"""A Host header that may be repeated in an answer."""
# No reply of the hub is ever a page of somebody else's.
COMMON_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
MAX_BODY_BYTES = 32 * 1024
BODY_TIMEOUT_S = 10.0


class BadRequest(Exception):
    """A request that gets a refusal: HTTP status, code, one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """The one form of every error."""
    return web.json_response({"error": code, "message": message}, status=status, headers=headers)


def address(request: web.BaseRequest) -> str:
    """Who asks: the socket's address, or what a trusted proxy says (see proxy.TrustedProxies)."""
    return request.remote or "unknown"


def is_loopback(request: web.BaseRequest) -> bool:
    return addresses.is_loopback(address(request))


def bearer(request: web.BaseRequest) -> str:
    """The credential of `Authorization: Bearer …`, or an empty text."""
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


async def body_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; none is an empty one. Raises BadRequest, or aiohttp's own 413 beyond the limit."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
        value = json.loads(raw or b"{}")
    except TimeoutError:
        raise BadRequest(408, "invalid_request", f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
    except (ValueError, RecursionError):
        raise BadRequest(400, "invalid_request", "the body is no JSON") from None
    if not isinstance(value, dict):
        raise BadRequest(400, "invalid_request", "the body is no JSON object")
    return value


@web.middleware
async def errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turns BadRequest and aiohttp's own refusals into the one form of errors."""
    try:
        response: web.StreamResponse = await handler(request)
    except BadRequest as bad:
        response = refusal(bad.status, bad.code, str(bad))
    except web.HTTPException as err:
        code = "not_found" if err.status == 404 else "invalid_request"
        headers = {"Allow": err.headers["Allow"]} if "Allow" in err.headers else None
        response = refusal(err.status, code, err.reason, headers)
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        if "Upgrade" in request.headers:
            raise  # perhaps upgraded already: there is no place for an answer
        log.exception("%s %s failed", request.method, request.path)
        response = refusal(503, "internal_error", "the hub failed at this: its log says why")
    if not response.prepared:
        response.headers.update(COMMON_HEADERS)
    return response
