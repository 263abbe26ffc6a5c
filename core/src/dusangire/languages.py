"""The languages payers read: Kinyarwanda, English and French."""

from collections.abc import Mapping

LANGUAGES = ("rw", "en", "fr")


def in_language(texts: Mapping[str, str], locale: str) -> str:
    """The text for a locale such as `rw`, `fr-RW` or `en_GB`; in English where there is no other.

    The region is not looked at. Where even English is missing, the text that comes first; "" when
    there is none at all.
    """
    language = locale.replace("_", "-").partition("-")[0].strip().lower()
    for name in (language, "en"):
        if name in texts:
            return texts[name]
    return next(iter(texts.values()), "")
