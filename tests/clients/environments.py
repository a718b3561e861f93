"""Environments of real clients, one each, under `var/clients`.

    python -m tests.clients.environments [NAME ...]     installs what can be had of these, or of all

Every client is the newest that there was, with its newest SDKs, in an environment of its own: none
shares a package with this project, or with another client.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "var" / "clients"
_INSTALL_S = 600
_AT_ONCE = 3


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is installed for one client.

    Attributes
    ----------
    packages
        Plain pins of what is asked for by name; what they bring is for the registry to say.
    """

    name: str
    packages: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Where it is installed."""
        return CLIENTS / self.name

    @property
    def is_installed(self) -> bool:
        """Whether exactly this was installed."""
        marker = self.home / ".installed"
        return marker.is_file() and marker.read_text(encoding="ascii") == self.digest

    @property
    def digest(self) -> str:
        """Tell this list of packages from others."""
        return hashlib.sha256("\n".join(self.packages).encode()).hexdigest()

    @property
    def interpreter(self) -> Path:
        """Run its programs."""
        raise NotImplementedError

    def install(self) -> None:
        """Install it anew.

        Raises
        ------
        RuntimeError
            With the last line of what went wrong.
        """
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self._fill()
        (self.home / ".installed").write_text(self.digest, encoding="ascii")

    def _fill(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PythonEnvironment(Environment):
    """Packages of the Python index."""

    @property
    def interpreter(self) -> Path:
        """Python."""
        return self.home / "bin" / "python"

    def _fill(self) -> None:
        # Our own pip installs into it: one of its own takes as long as some clients.
        _run(sys.executable, "-m", "venv", "--without-pip", str(self.home))
        install = ("install", "--quiet", "--no-compile", "--no-input", *self.packages)
        _run(sys.executable, "-m", "pip", "--python", str(self.interpreter), *install)


@dataclass(frozen=True, kw_only=True)
class NodeEnvironment(Environment):
    """Packages of the npm registry."""

    @property
    def interpreter(self) -> Path:
        """Node.js, the one that `NODE` brings."""
        return CLIENTS / "node" / "node_modules" / "node" / "bin" / "node"

    def _fill(self) -> None:
        if shutil.which("npm") is None:
            raise RuntimeError("there is no npm on this machine")
        (self.home / "package.json").write_text('{"private": true, "type": "module"}\n')
        install = ("install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
        _run("npm", *install, *self.packages, cwd=self.home)


NODE = NodeEnvironment(name="node", packages=("node@24.21.0",))
"""Newer than many systems have: the newest clients ask for 22 or more."""

ENVIRONMENTS = (
    PythonEnvironment(name="openai", packages=("openai==3.57.0",)),
    PythonEnvironment(name="anthropic", packages=("anthropic==2.14.0",)),
    PythonEnvironment(
        name="langchain",
        packages=("langchain==1.5.2", "langchain-openai==1.7.4", "langchain-anthropic==1.7.10"),
    ),
    PythonEnvironment(name="pydantic-ai", packages=("pydantic-ai-slim[openai,anthropic]==2.68.0",)),
    PythonEnvironment(name="openai-agents", packages=("openai-agents==0.24.0",)),
    PythonEnvironment(name="instructor", packages=("instructor==1.17.0",)),
    PythonEnvironment(
        name="llama-index",
        packages=("llama-index-llms-openai-like==0.8.1",),
    ),
    PythonEnvironment(name="litellm", packages=("litellm==1.110.2",)),
    PythonEnvironment(name="haystack", packages=("haystack-ai==3.4.1",)),
    PythonEnvironment(name="dspy", packages=("dspy==3.4.1",)),
    PythonEnvironment(name="llm", packages=("llm==0.36",)),
    NODE,
    NodeEnvironment(name="openai-node", packages=("openai@7.59.0", "zod@4.6.7")),
    NodeEnvironment(
        name="ai-sdk",
        packages=(
            *("ai@7.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92"),
            *("@ai-sdk/anthropic@4.0.105", "zod@4.6.7"),
        ),
    ),
)


def _run(*command: str, cwd: Path | None = None) -> None:
    process = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_S,
        env={k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
    )
    if process.returncode:
        lines = (process.stderr or process.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"status {process.returncode}")


def _tell_install(environment: Environment) -> bool:
    """Install an environment where it is not there yet; whether it is there then."""
    if environment.is_installed:
        print(f"{environment.name}: there already", flush=True)
        return True
    started = time.monotonic()
    try:
        environment.install()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{environment.name}: skipped, {error}", flush=True)
        return False
    print(f"{environment.name}: installed in {time.monotonic() - started:.0f} s", flush=True)
    return True


def main(names: Sequence[str]) -> int:
    """Install the environments of these names, or all; 1 if one cannot be had."""
    chosen = [each for each in ENVIRONMENTS if not names or each.name in names]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return 0 if all(list(threads.map(_tell_install, chosen))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
