"""The PDF of a document: the same paper gives the same bytes.

What people wrote never becomes markup: typst gets it as data, and may read only a folder that holds
the logo and nothing else.
"""

import asyncio
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import typst

from dusangire.errors import Invalid
from dusangire.invoicing.documents.logo import Logo
from dusangire.invoicing.documents.paper import Paper
from dusangire.invoicing.documents.sheet import sheet_of

# Each takes a core while it works, and gateways' answers must not wait for invoices.
_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pdf")
# Longer words than this may be broken anywhere, or they would run off the paper.
_LONG = re.compile(r"\S{24,}")
_BREAK_HERE = "\u200b"


async def pdf_of(paper: Paper, locale: str) -> bytes:
    """The document as a PDF in the language of `locale`: `en`, `fr`, `rw`; others give English."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, make_pdf, paper, locale)


def make_pdf(paper: Paper, locale: str) -> bytes:
    """Like `pdf_of`, in the thread that calls it: 30 ms for a line, half a second for 200."""
    written = paper.invoice.issued_at or paper.invoice.created_at
    data = _breakable(asdict(sheet_of(paper, locale)))
    data["logo"] = paper.logo.file_name if paper.logo else ""
    inputs = {"sheet": orjson.dumps(data).decode()}
    return _compile(_template(), paper.logo, inputs, int(written.timestamp()))


async def check_logo(logo: Logo) -> None:
    """Raises Invalid for a picture that could not be printed."""
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(_THREADS, _print_alone, logo)
    except typst.TypstError as error:
        raise Invalid(f"The logo cannot be printed: {error.message}.", field=["logo"]) from error


def _print_alone(logo: Logo) -> None:
    _compile(f'#image("{logo.file_name}", width: 40mm)'.encode(), logo, {}, 0)


def _compile(markup: bytes, logo: Logo | None, inputs: dict[str, str], timestamp: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="dusangire-pdf-") as folder:
        if logo is not None:
            (Path(folder) / logo.file_name).write_bytes(logo.content)
        compiler = typst.Compiler(
            markup,
            root=folder,
            font_paths=_fonts(),
            sys_inputs=inputs,
            # Where packages would be looked for, and there are none.
            package_path=folder,
            package_cache_path=folder,
        )
        pdf = compiler.compile(format="pdf", timestamp=timestamp)
    assert isinstance(pdf, bytes)
    return pdf


@cache
def _fonts() -> typst.Fonts:
    """Those inside typst alone: a document looks the same on every machine."""
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True)


@cache
def _template() -> bytes:
    return resources.files(__package__).joinpath("invoice.typ").read_bytes()


def _breakable(value: Any) -> Any:
    """Texts with places where a long word may go on in the next line."""
    if isinstance(value, dict):
        # Pictures are not to be read by people.
        return {k: v if k in {"svg", "text"} else _breakable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_breakable(item) for item in value]
    if isinstance(value, str):
        return _LONG.sub(lambda found: _BREAK_HERE.join(_parts(found[0])), value)
    return value


def _parts(word: str) -> list[str]:
    return [word[at : at + 12] for at in range(0, len(word), 12)]
