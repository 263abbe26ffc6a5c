"""The merchant's logo: a picture that is what it says, of a bearable size, and fetches nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.parsers import expat

from dusangire.errors import Invalid

LARGEST = 200_000
# A picture of few bytes can unfold to gigabytes.
MOST_PIXELS = 4_000_000
PNG, JPEG, SVG = "image/png", "image/jpeg", "image/svg+xml"

# Shapes and colours. What could fetch, run, unfold without end, or look different on every
# machine (text in a font that is not there) is not among them.
_ELEMENTS = frozenset(
    {
        "svg", "g", "defs", "title", "desc", "metadata", "style",
        "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
        "linearGradient", "radialGradient", "stop", "clipPath", "mask",
    }
)  # fmt: skip
_SVG_SPACE = "http://www.w3.org/2000/svg"
# What drawing programs write about themselves; nobody draws it.
_UNDRAWN = frozenset({"metadata", "title", "desc"})
_FETCHES = re.compile(r"url\s*\(\s*['\"]?\s*(?!#)|@import|javascript:|\\|&", re.IGNORECASE)
_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class Logo:
    """content: the file's bytes. media_type: found by looking at them."""

    content: bytes
    media_type: str

    @property
    def file_name(self) -> str:
        return {PNG: "logo.png", JPEG: "logo.jpg", SVG: "logo.svg"}[self.media_type]


def read_logo(content: bytes, *field: str) -> Logo:
    """Raises Invalid, saying what is wrong with the picture and what to do."""
    if len(content) > LARGEST:
        raise Invalid(
            f"The logo has {len(content):,} bytes; at most {LARGEST:,} fit. Make it smaller.",
            field=field,
        )
    try:
        media_type = _media_type(content)
    except _Unfit as unfit:
        raise Invalid(str(unfit), field=field) from unfit
    return Logo(content, media_type)


class _Unfit(ValueError):
    """Why a picture cannot be a logo."""


def _media_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_size(int.from_bytes(content[16:20]), int.from_bytes(content[20:24]))
        return PNG
    if content.startswith(b"\xff\xd8\xff"):
        _check_size(*_jpeg_size(content))
        return JPEG
    if b"<svg" in content[:4096] or b":svg" in content[:4096]:
        _check_svg(content)
        return SVG
    raise _Unfit("The logo must be a PNG, JPEG or SVG picture.")


def _check_size(width: int, height: int) -> None:
    if not width or not height or width * height > MOST_PIXELS:
        raise _Unfit(
            f"The logo is {width} × {height} pixels; at most {MOST_PIXELS:,} pixels fit, "
            "such as 2,000 × 2,000."
        )


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height, from the first frame header."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        # C4, C8 and CC are tables and not frames.
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]
            return int.from_bytes(width), int.from_bytes(height)
        at += 1 if marker == 0xFF else 2 + length
    raise _Unfit("The logo looks like a JPEG picture, and cannot be read as one.")


# ── SVG ──────────────────────────────────────────────────────────────────────────────────────────


def _check_svg(content: bytes) -> None:
    """Raises _Unfit for anything but plain shapes."""
    parser = expat.ParserCreate(namespace_separator=" ")
    checks = _Checks()
    parser.XmlDeclHandler = checks.declaration
    parser.StartDoctypeDeclHandler = checks.doctype
    parser.StartElementHandler = checks.start
    parser.EndElementHandler = checks.end
    parser.CharacterDataHandler = checks.text
    parser.ProcessingInstructionHandler = checks.instruction
    parser.buffer_text = True
    try:
        content.decode()
        parser.Parse(content, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise _Unfit(f"The logo is not a sound SVG file: {error}.") from error


class _Checks:
    def __init__(self) -> None:
        self.open: list[str] = []

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        # Another reader must not see other characters than we do.
        if (encoding or "utf-8").lower() not in {"utf-8", "utf8"}:
            raise _Unfit("The logo's SVG file must be written in UTF-8.")

    def doctype(self, *_: object) -> None:
        raise _Unfit('The logo\'s SVG file has a DOCTYPE. Save it again as "plain SVG".')

    def instruction(self, _target: str, _data: str) -> None:
        raise _Unfit("The logo's SVG file has a processing instruction, such as a style sheet.")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        self.open.append(local)
        if len(self.open) > _DEEPEST:
            raise _Unfit("The logo's SVG file is nested too deeply.")
        if "metadata" in self.open[:-1]:
            return
        if space in {_SVG_SPACE, ""} and local not in _ELEMENTS:
            raise _Unfit(
                f"The logo's SVG file has <{local[:30]}>. Only shapes and gradients can be used: "
                'convert text to paths and save it as "plain SVG".'
            )
        for key, value in attributes.items():
            self._check_attribute(key.rpartition(" ")[2].lower(), value)

    def _check_attribute(self, key: str, value: str) -> None:
        if key.startswith("on"):
            raise _Unfit("The logo's SVG file holds a script.")
        if key == "href" and not value.startswith("#"):
            raise _Unfit("The logo's SVG file refers to another file or address.")
        if _FETCHES.search(value):
            raise _Unfit("The logo's SVG file refers to another file or address.")

    def end(self, _name: str) -> None:
        self.open.pop()

    def text(self, text: str) -> None:
        if self.open and self.open[-1] not in _UNDRAWN and _FETCHES.search(text):
            raise _Unfit("The logo's SVG file refers to another file or address.")
