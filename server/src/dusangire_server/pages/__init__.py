"""Pages that payers see: their text, how they look, and what their browser may do with them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from dusangire.languages import LANGUAGES

_STYLE = "page.css"
# A language, without its region, and how much it is wanted: `fr-RW;q=0.8`.
_ACCEPTED = re.compile(
    r"(?:^|,)\s*([a-z]+)(?:-[a-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*(?=,|$)"
)
# How a language calls itself.
NAMES = {"rw": "Kinyarwanda", "en": "English", "fr": "Français"}


def page(template: str, language: str, status: int = 200, **values: Any) -> Response:
    """A page that runs no script, loads nothing and is kept by nobody."""
    html = (
        _templates()
        .get_template(template)
        .render(language=language, names=NAMES, style=_style(), **values)
    )
    return HTMLResponse(html, status, headers=_headers())


def chosen_language(wanted: str | None, accepted: str) -> str:
    """`wanted` if it is one of ours, else the best of an Accept-Language header, else English."""
    if wanted in LANGUAGES:
        return str(wanted)
    best, most = "en", 0.0
    for name, weight in _ACCEPTED.findall(accepted[:500].lower()):
        value = float(weight or 1)
        if name in LANGUAGES and value > most:
            best, most = name, value
    return best


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
    return resources.files(__package__).joinpath(_STYLE).read_text("utf-8")


@cache
def _headers() -> Mapping[str, str]:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Robots-Tag": "noindex, nofollow",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
