"""Where people sign in and out, and set up their account: /admin/… without any script.

Whatever changes something is a POST from a page of our own. Only a one-time link is used by opening
it; a browser that fetches it ahead, or asks with HEAD, is not taken for the person.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TypeAlias
from urllib.parse import parse_qsl

import segno
import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from dusangire.core import Core
from dusangire.database import LOST
from dusangire.errors import Invalid, Retryable, SignInRefused, TooManyTries, Unauthenticated
from dusangire.people import onetime, sessions
from dusangire.people.sessions import Knock, Session, SignedIn
from dusangire.permissions import Role
from dusangire_server.doors import Doors
from dusangire_server.http import TooLarge, correlation_id, read_body
from dusangire_server.limits import Limits, Rates, neighbours
from dusangire_server.pages.people import people_page

log = structlog.get_logger(__name__)

HOME = "/admin/"
LOGIN = "/admin/login"
_LONGEST_FORM = 8 * 1024
_ABOUT = {
    Role.VIEWER: "You can look at payments, refunds and invoices.",
    Role.OPERATOR: "You can take payments, ask for refunds and write invoices.",
    Role.APPROVER: "You can do what operators do, and decide on refunds that others asked for.",
    Role.ADMIN: "You can do everything, and say who else may do what.",
}

Form: TypeAlias = Mapping[str, str]
Page: TypeAlias = Callable[["Login", Request], Awaitable[Response]]


def _page(page: Page) -> Page:
    """What all pages have in common: a limit for each address, and words for what goes wrong."""

    @wraps(page)
    async def answer(login: "Login", request: Request) -> Response:
        if not login.rates.take_address(_address(request)):
            return _refused(429, "Many people are here. Try again in a second.", wait=1)
        try:
            return await page(login, request)
        except _Foreign:
            return _refused(403, "This did not come from a page of ours. Open the page again.")
        except TooManyTries as error:
            return _refused(429, error.message, wait=error.wait)
        except TooLarge:
            return _refused(413, "This is more than fits.")
        except (Retryable, *LOST):
            return _refused(503, "We cannot look it up this moment. Try again.", wait=1)
        except Exception:
            log.exception("page failed")
            quoted = correlation_id(request.scope)
            return _refused(500, f"Something went wrong on our side. Quote {quoted} to us.")

    return answer


class _Foreign(Exception):
    """A page that is not ours made a browser send this."""


@dataclass(slots=True)
class Login:
    """The routes under /admin/."""

    core: Core
    doors: Doors
    limits: Limits
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.rates = Rates(self.limits)

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/admin", _to_home),
            Route(HOME, self.home),
            Route(LOGIN, self.form, methods=["GET"]),
            Route(LOGIN, self.login, methods=["POST"]),
            Route("/admin/logout", self.logout, methods=["POST"]),
            Route("/admin/link/{token}", self.link, methods=["GET"]),
            Route("/admin/link/{token}", self.use_link, methods=["POST"]),
            Route("/admin/password", self.password, methods=["POST"]),
            Route("/admin/code", self.code, methods=["POST"]),
        ]

    # ── pages ────────────────────────────────────────────────────────────────────────────────────

    @_page
    async def home(self, request: Request) -> Response:
        session = await sessions.find(self.doors.cookie(request.scope, "session"))
        if session is None:
            return RedirectResponse(LOGIN, 303)
        return await self._of(session, done=request.query_params.get("done") == "password")

    @_page
    async def form(self, request: Request) -> Response:
        return people_page("people_login.html", wrong="")

    @_page
    async def link(self, request: Request) -> Response:
        found = await sessions.look_at_link(request.path_params["token"])
        if found is None:
            return people_page("people_link.html", 404, wrong="", email=None)
        if found.needs_code or _only_looks(request) or await self._would_surprise(request):
            return people_page(
                "people_link.html", wrong="", email=found.email, needs_code=found.needs_code
            )
        return await self._use(request, request.path_params["token"], code="")

    async def _would_surprise(self, request: Request) -> bool:
        """Whether another site may have sent the visitor here, or somebody is signed in already.

        Then they press a button first: else a page could make them work as somebody else.
        """
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return True
        token = self.doors.cookie(request.scope, "session")
        return await sessions.find(token, seen=False) is not None

    async def _of(self, session: Session, *, wrong: str = "", done: bool = False) -> Response:
        """What a person sees who is signed in: what is left to set up, or who they are."""
        status = 400 if wrong else 200
        if session.needs_password:
            return people_page("people_password.html", status, wrong=wrong, session=session)
        if session.needs_totp:
            secret = await sessions.draft(self.core, session)
            code = segno.make(onetime.address(secret, session.email), micro=False)
            return people_page(
                "people_code.html",
                status,
                wrong=wrong,
                session=session,
                secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
                picture=code.svg_inline(border=2, omitsize=True),
                asks_password=not session.actor.confirmed,
            )
        return people_page(
            "people_home.html",
            status,
            wrong=wrong,
            session=session,
            about=_ABOUT[session.role],
            done="The password is changed." if done else "",
        )

    # ── what is done ─────────────────────────────────────────────────────────────────────────────

    @_page
    async def login(self, request: Request) -> Response:
        # Programs send no Origin and bring no cookie: nobody's browser can be made to do this.
        form = await self._form(request, programs=True)
        try:
            signed = await sessions.login(
                self.core,
                self._knock(request),
                form.get("email", ""),
                form.get("password", ""),
                form.get("code", ""),
            )
        except SignInRefused as refused:
            return people_page("people_login.html", 401, wrong=refused.message)
        return await self._let_in(request, signed)

    @_page
    async def use_link(self, request: Request) -> Response:
        form = await self._form(request, programs=True)
        return await self._use(request, request.path_params["token"], form.get("code", ""))

    async def _use(self, request: Request, token: str, code: str) -> Response:
        try:
            signed = await sessions.use_link(self.core, self._knock(request), token, code)
        except SignInRefused as refused:
            found = await sessions.look_at_link(token)
            if found is None:
                return people_page("people_link.html", 404, wrong="", email=None)
            return people_page(
                "people_link.html",
                401,
                wrong=refused.message,
                email=found.email,
                needs_code=found.needs_code,
            )
        return await self._let_in(request, signed)

    @_page
    async def logout(self, request: Request) -> Response:
        await self._form(request)
        await sessions.end(self.doors.cookie(request.scope, "session"))
        response = RedirectResponse(LOGIN, 303)
        response.headers.append(*self.doors.let_out())
        return response

    @_page
    async def password(self, request: Request) -> Response:
        form = await self._form(request)
        session = await sessions.find(self.doors.cookie(request.scope, "session"))
        if session is None:
            return RedirectResponse(LOGIN, 303)
        try:
            if session.needs_password:
                await sessions.choose_password(session, form.get("new", ""))
                return RedirectResponse(HOME, 303)
            await sessions.change_password(
                self.core,
                session,
                form.get("password", ""),
                form.get("new", ""),
                form.get("code", ""),
            )
        except Invalid as error:
            return await self._of(session, wrong=error.message)
        except Unauthenticated:
            return RedirectResponse(LOGIN, 303)
        return RedirectResponse(f"{HOME}?done=password", 303)

    @_page
    async def code(self, request: Request) -> Response:
        form = await self._form(request)
        session = await sessions.find(self.doors.cookie(request.scope, "session"))
        if session is None:
            return RedirectResponse(LOGIN, 303)
        try:
            await sessions.enrol(self.core, session, form.get("code", ""), form.get("password", ""))
        except Invalid as error:
            return await self._of(session, wrong=error.message)
        except Unauthenticated:
            return RedirectResponse(LOGIN, 303)
        return RedirectResponse(HOME, 303)

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    async def _form(self, request: Request, *, programs: bool = False) -> Form:
        """The fields of a form of ours. Raises _Foreign, TooLarge.

        programs: what is no browser may send it too: there is no cookie to misuse.
        """
        browser = "origin" in request.headers or "sec-fetch-site" in request.headers
        if not self.doors.is_ours(request.scope) and (browser or not programs):
            origin = request.headers.get("origin", "")[:200]
            log.warning("security: foreign form", origin=origin)
            raise _Foreign
        body = await read_body(request.receive, _LONGEST_FORM)
        try:
            return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20))
        except ValueError:
            return {}

    def _knock(self, request: Request) -> Knock:
        return Knock(
            source=neighbours(_address(request)),
            device=self.doors.cookie(request.scope, "device"),
        )

    async def _let_in(self, request: Request, signed: SignedIn) -> Response:
        # Whoever was signed in here before is so no more.
        await sessions.end(self.doors.cookie(request.scope, "session"))
        response = RedirectResponse(HOME, 303)
        for name, value in self.doors.let_in(signed.token, signed.device):
            response.headers.append(name, value)
        return response


def _only_looks(request: Request) -> bool:
    """Whether nobody opened the link: a browser fetches it ahead, or a program asks if it is."""
    purpose = request.headers.get("sec-purpose") or request.headers.get("purpose") or ""
    return request.method == "HEAD" or "prefetch" in purpose or "preview" in purpose


async def _to_home(_request: Request) -> Response:
    return RedirectResponse(HOME, 303)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _refused(status: int, why: str, *, wait: int | None = None) -> Response:
    response = people_page("people_refused.html", status, wrong=why)
    if wait is not None:
        response.headers["Retry-After"] = str(wait)
    return response
