"""Pages of the people who work with the system: how they look, and what a browser may do there."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response


def people_page(template: str, status: int = 200, **values: Any) -> Response:
    """A page that runs no script, loads nothing, and sends its forms to us alone."""
    html = _templates().get_template(template).render(style=_style(), **values)
    return HTMLResponse(html, status, headers=people_headers())


@cache
def people_headers() -> Mapping[str, str]:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        # Without any referrer browsers call the origin of a form `null`, and we go by that.
        "Referrer-Policy": "same-origin",
        "X-Robots-Tag": "noindex, nofollow",
        "Cache-Control": "no-store",
    }


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("dusangire_server", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    return resources.files(__package__).joinpath("people.css").read_text("utf-8")
