"""A copy of the environment that the tests run in, so that a test may install more into it."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.processes import clean_environment

_OURS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that is installed for the tests, and what a test adds."""

    folder: Path

    @classmethod
    def copy(cls, folder: Path) -> "Environment":
        venv.create(folder, symlinks=True)
        environment = cls(folder)
        # Not a path but a call: what is installed there as editable is found, too.
        there = sysconfig.get_path("purelib")
        (environment.packages / "ours.pth").write_text(f"import site; site.addsitedir({there!r})\n")
        _, _, script = (_OURS / "dusangire").read_text().partition("\n")
        environment.dusangire.write_text(f"#!{environment.python}\n{script}")
        environment.dusangire.chmod(0o755)
        return environment

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def dusangire(self) -> Path:
        return self.folder / "bin" / "dusangire"

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a shell in which it is activated."""
        path = os.pathsep.join([str(self.folder / "bin"), str(_OURS), os.environ["PATH"]])
        return {**clean_environment(), "PATH": path}

    def install(self, project: Path, *, editable: bool = False) -> None:
        """From its own folder, as any installer does it; nothing is fetched."""
        ran = self.run(
            *(_OURS / "uv", "pip", "install", "--python", self.python, "--quiet", "--no-cache"),
            *("--no-deps", "--no-build-isolation", "--offline"),
            *(("-e", project) if editable else (project,)),
            cwd=self.folder,
        )
        assert ran.status == 0, ran.err

    def add(self, name: str, source: str, *, version: str = "1.0") -> None:
        """A distribution with one module and an entry point, as an installer would leave it."""
        module, described = f"dusangire_{name}", f"dusangire_{name}-{version}.dist-info"
        (self.packages / f"{module}.py").write_text(source)
        about = self.packages / described
        about.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: dusangire-{name}\nVersion: {version}\n"
        (about / "METADATA").write_text(metadata)
        (about / "entry_points.txt").write_text(f"[dusangire]\n{name} = {module}\n")

    def run(self, *words: str | Path, cwd: Path, variables: Mapping[str, str] | None = None) -> Ran:
        ran = subprocess.run(
            words,
            cwd=cwd,
            env={**self.variables, **(variables or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)
