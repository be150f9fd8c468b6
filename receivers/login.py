"""Logging browsers in and out: `/ui/login` and `/ui/logout`."""

import asyncio
import math
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.types import Receive, Scope, Send

from batching.access import LOCAL, find_token
from batching.access import Scope as Allowed
from batching.errors import BatchManagerError
from receivers.browser_guard import is_encrypted, is_same_origin
from receivers.browser_pages import LOGIN, PAGES
from receivers.browser_sessions import BrowserSessions
from receivers.context import WebContext
from receivers.failure_limit import FailureLimit
from receivers.login_page import POLICY, login_page, onward_page

_LARGEST_FORM_BYTES: Final = 10_000
_CROSS_SITE: Final = (b"sec-fetch-site", b"cross-site")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    token: str
    target: str


class Login:
    """Answers the two addresses; everything else is left to the others."""

    def __init__(
        self, context: WebContext, sessions: BrowserSessions, failures: FailureLimit
    ) -> None:
        self._context = context
        self._sessions = sessions
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "GET":
            await self._show(scope, send)
        elif scope["method"] != "POST":
            await _send_page(send, 405, b"", (b"allow", b"GET, HEAD, POST"))
        elif not is_same_origin(scope["headers"]):
            await _send_page(send, 403, login_page(PAGES, "Log in from this page itself."))
        elif scope["path"] == LOGIN:
            await self._log_in(scope, receive, send)
        else:
            await self._log_out(scope, send)

    async def _show(self, scope: Scope, send: Send) -> None:
        target = _target_of(scope["query_string"].decode("latin-1"))
        is_open = scope["identity"] is LOCAL
        if is_open or self._sessions.identity(scope, self._context.tokens.now()) is not None:
            await _lead(send, target)
        else:
            await _send_page(send, 200, login_page(target))

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await self._form(receive)
        if form is None:
            await _send_page(send, 400, login_page(PAGES, "The form did not arrive: try again."))
            return
        token = find_token(form.token.strip(), self._context.tokens.now())
        if token is None:
            await self._refuse(scope, send, form)
        elif Allowed.READ not in token.scopes:
            lacking = f"The token “{token.name}” lacks the scope read, which pages need."
            await _send_page(send, 403, login_page(form.target, lacking))
        else:
            try:
                cookie = await asyncio.to_thread(
                    self._sessions.begin, token, is_secure=is_encrypted(scope)
                )
            except (OSError, BatchManagerError) as error:
                await _send_page(send, 503, login_page(form.target, f"Nobody can log in: {error}"))
                return
            await _lead(send, form.target, (b"set-cookie", cookie))

    async def _refuse(self, scope: Scope, send: Send, form: _Form) -> None:
        client = scope.get("client")
        wait_seconds = math.ceil(self._failures.count(client[0] if client else ""))
        if wait_seconds:
            wrong = f"Too many wrong tokens came from your address: wait {wait_seconds} seconds."
            retry = (b"retry-after", b"%d" % wait_seconds)
            await _send_page(send, 429, login_page(form.target, wrong), retry)
        else:
            wrong = "This token is not valid here."
            await _send_page(send, 401, login_page(form.target, wrong))

    async def _log_out(self, scope: Scope, send: Send) -> None:
        cookie = await asyncio.to_thread(self._sessions.end, scope, is_secure=is_encrypted(scope))
        await _lead(send, LOGIN, (b"set-cookie", cookie))

    async def _form(self, receive: Receive) -> _Form | None:
        """Return what was filled in; None if it is too much, too slow or broken off."""
        content = bytearray()
        try:
            async with asyncio.timeout(self._context.settings.receive_timeout_seconds):
                while True:
                    message = await receive()
                    content.extend(message.get("body", b""))
                    if message["type"] != "http.request" or len(content) > _LARGEST_FORM_BYTES:
                        return None
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            return None
        text = content.decode("latin-1")
        return _Form(token=parse_qs(text).get("token", [""])[0], target=_target_of(text))


async def lead_to_login(scope: Scope, send: Send) -> None:
    """Answer a page that only those may see who are logged in."""
    query = scope["query_string"].decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    address = f"{LOGIN}?next={quote(wanted, safe='')}"
    if _CROSS_SITE in scope["headers"]:
        # Who comes by a link of another site shows no cookie yet; he does at the next step.
        await _send_page(send, 200, onward_page(address))
    else:
        await _lead(send, address)


def _target_of(form: str) -> str:
    """Return the page to go to: one of ours, whatever is asked for."""
    target = parse_qs(form).get("next", [PAGES])[0]
    is_ours = target == PAGES or target.startswith((f"{PAGES}/", f"{PAGES}?"))
    return quote(target, safe="/?&=%:,;@!$'()*+~-._") if is_ours else PAGES


async def _lead(send: Send, address: str, *headers: tuple[bytes, bytes]) -> None:
    location = (b"location", address.encode())
    await _send_page(send, 303, b"", location, *headers)


async def _send_page(send: Send, status: int, page: bytes, *headers: tuple[bytes, bytes]) -> None:
    own = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(page)),
        (b"content-security-policy", POLICY.encode()),
        (b"referrer-policy", b"same-origin"),  # or forms would not say where they come from
    )
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": page})
