"""A folder with a payment method that works, for an author to change: `dusangire plugins new`."""

import re
import tempfile
from importlib.metadata import distributions, entry_points
from importlib.util import find_spec
from pathlib import Path

from dusangire.errors import Conflict, Invalid

GROUP = "dusangire"
# As long as it may be, so that no line of the template becomes too long.
MAX_NAME = 16
_NAME = re.compile(rf"[a-z](?:_?[a-z0-9]){{1,{MAX_NAME - 1}}}")
_TEMPLATE = Path(__file__).parent / "template"
# Of this project only: `tests` of a plugin are no package.
_NOT_COPIED = {Path("tests/__init__.py")}


def create(name: str, into: Path) -> Path:
    """Writes the folder and gives its path. Raises Invalid and Conflict; nothing is overwritten."""
    _check(name)
    folder = into / f"dusangire-{name.replace('_', '-')}"
    if folder.exists():
        raise Conflict(f"{folder} is there already. Nothing was changed.")
    into.mkdir(parents=True, exist_ok=True)
    # Beside its place and then renamed: an error leaves no half a folder behind.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=into) as parent:
        _write(name, Path(parent) / folder.name)
        (Path(parent) / folder.name).rename(folder)
    return folder


def files() -> list[Path]:
    """What is copied, relative to the template."""
    found = (path.relative_to(_TEMPLATE) for path in sorted(_TEMPLATE.rglob("*")) if path.is_file())
    return [path for path in found if path not in _NOT_COPIED and "__pycache__" not in path.parts]


def rendered(text: str, name: str) -> str:
    """`text` of the template with this name in all its spellings."""
    words = name.split("_")
    spellings = {
        "examplepay_plugin": f"dusangire_{name}",
        "dusangire-examplepay": f"dusangire-{name.replace('_', '-')}",
        "ExamplePay": "".join(word.capitalize() for word in words),
        "Example Pay": " ".join(word.capitalize() for word in words),
        "examplepay": name,
    }
    return re.sub("|".join(spellings), lambda found: spellings[found[0]], text)


def _write(name: str, folder: Path) -> None:
    for path in files():
        target = folder / rendered(str(path), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rendered((_TEMPLATE / path).read_text("utf-8"), name), "utf-8")


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise Invalid(
            f"{name!r} cannot be a name: take 2 to {MAX_NAME} small letters, digits and single _, "
            "with a letter first, such as airtel or bank_of_kigali."
        )
    for point in entry_points(group=GROUP, name=name):
        owner = point.dist.name if point.dist else point.value
        raise Conflict(f"There is a plugin {name!r} already: {owner}.")
    package = f"dusangire_{name}"
    taken = {(dist.name or "").lower().replace("-", "_") for dist in distributions()}
    if package in taken or find_spec(package) is not None:
        raise Conflict(f"There is a package {package} already.")
