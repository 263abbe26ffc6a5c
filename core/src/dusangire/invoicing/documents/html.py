"""The page of a document: for phones, for desks, and for a printer."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from dusangire.invoicing.documents.logo import Logo
from dusangire.invoicing.documents.paper import Paper
from dusangire.invoicing.documents.sheet import sheet_of
from dusangire.invoicing.documents.words import word


def html_of(
    paper: Paper,
    locale: str,
    *,
    pdf_link: str | None = None,
    other_languages: Mapping[str, str] | None = None,
) -> str:
    """The document as one page that runs nothing and loads nothing.

    pdf_link: where its button leads; without one there is no button.
    other_languages: the names of languages, and where the page is in each.
    """
    sheet = sheet_of(paper, locale)
    return (
        _templates()
        .get_template("invoice.html")
        .render(
            sheet=sheet,
            style=_style(),
            logo=_as_data(paper.logo) if paper.logo else None,
            code=_svg_data(sheet.code.svg) if sheet.code else None,
            fiscal_code=_svg_data(sheet.fiscal.code.svg) if sheet.fiscal else None,
            pdf_link=pdf_link,
            other_languages=other_languages or {},
            download=word("download", sheet.language),
        )
    )


@cache
def policy() -> str:
    """What a browser may do with the page: use its own style and pictures, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _as_data(logo: Logo) -> str:
    return f"data:{logo.media_type};base64,{base64.b64encode(logo.content).decode()}"


def _svg_data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("dusangire.invoicing.documents", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    return resources.files(__package__).joinpath("invoice.css").read_text("utf-8")
