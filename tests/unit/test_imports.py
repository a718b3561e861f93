"""Every module imports offline, with an empty environment, and does nothing by it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("app", "routers")
    for path in (ROOT / package).rglob("*.py")
)

WATCHED = """
import importlib, json, os, sys, threading

class Watched(type(os.environ)):
    def __getitem__(self, key):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0] in ("app", "routers"):
            happened.append(f"{{caller}} read {{key}}")
        return super().__getitem__(key)

def watch(event, arguments):
    if event in ("socket.__new__", "socket.connect", "subprocess.Popen", "os.posix_spawn"):
        happened.append(event)
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        # The import system itself: code, and how an editable installation is found.
        code = path.endswith((".py", ".pyc")) or ".pyc." in path or "/.venv/" in path
        code = code or ".egg-info" in path or "__editable__" in path
        if path.startswith({root!r}) and not code:
            happened.append(f"opened {{path}}")

happened, failed = [], {{}}
os.environ.__class__ = Watched
threads = set(threading.enumerate())
sys.addaudithook(watch)
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
happened += [each.name for each in set(threading.enumerate()) - threads]
print(json.dumps({{"failed": failed, "happened": happened, "loaded": sorted(sys.modules)}}))
"""


def imported(*modules):
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED.format(modules=modules, root=str(ROOT))],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return json.loads(process.stdout)


def test_every_module_is_found():
    assert "app.main" in MODULES
    assert "routers.strategies.carrot" in MODULES
    assert len(MODULES) > 60


def test_every_module_imports_and_nothing_happens():
    report = imported(*MODULES)
    assert report["failed"] == {}
    assert report["happened"] == []


@pytest.mark.parametrize(
    "module", ["app.main", "app.processes.serve", "app.cli", "app.stub.__main__"]
)
def test_serving_needs_nothing_of_training(module):
    loaded = imported(module)["loaded"]
    heavy = {"sklearn", "scipy", "pyarrow", "torch", "pandas", "transformers", "openai"}
    assert heavy.isdisjoint(loaded)


def test_the_command_line_answers_before_it_loads_the_service():
    loaded = set(imported("app.cli")["loaded"])
    assert {"numpy", "fastapi", "uvicorn"}.isdisjoint(loaded)
