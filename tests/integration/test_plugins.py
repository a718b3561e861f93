"""Routers of one's own, from outside the repository, with every command."""

import json
import re
import subprocess
import sys

import pytest

from routers import ROUTERS
from routers.errors import RoutingConfigError
from routers.plugins import load_plugins
from routers.registry import Registry
from tests.support.gateway import REPOSITORY
from tests.support.processes import gateway_process, write_config

PAGE = (REPOSITORY / "docs" / "guides" / "own-router.md").read_text(encoding="utf-8")
SOURCE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
MODELS = ("small", "large")

COMMANDS = """
import json, sys
from app.cli import main

codes = []
for line in json.loads(sys.argv[1]):
    try:
        main(line)
        code = 0
    except SystemExit as ended:
        code = ended.code
    codes.append(code)
print(json.dumps(codes), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with outcomes, and the router of the guide as an installed package."""
    folder = tmp_path_factory.mktemp("plugins")
    site = folder / "site"
    info = site / "ridge_router-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "ridge_router.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ridge-router\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[steelyard.routers]\nmy-ridge = ridge_router:MyRidge\nbroken = nowhere:Gone\n"
        "not-a-router = json:JSONDecoder\n"
    )
    rows = ["prompt,q:small,q:large,t:small,t:large"]
    for i in range(200):
        hard = i % 2
        rows.append(
            f"{'prove the theorem' if hard else 'say hello'} number {i},"
            f"{'no' if hard else 'yes'},yes,{40 + i % 7},{90 + i % 11}"
        )
    (folder / "outcomes.csv").write_text("\n".join(rows) + "\n")
    (folder / "prices.json").write_text(json.dumps({"small": [0.1, 0.4], "large": [1, 4]}))
    (folder / "recipe.yaml").write_text(
        "strategy: my-ridge\noptions: {strength: 3}\nblocks: [embedding, lexical]\n"
        "embedder: {kind: hashing, options: {dimensions: 64}}\ncalibration_folds: 2\n"
    )
    changes = {
        "upstreams.stub.base_url": "http://127.0.0.1:1/v1",
        "models": {
            name: {"upstream": "stub", "spec": spec}
            for name, spec in zip(MODELS, ("gpt-4.1-nano", "claude-opus-5-5"), strict=True)
        },
        "routers": {"mine": {"artifact": str(folder / "router")}},
        "policies": {
            "default": {"router": "mine", "candidates": list(MODELS), "default_model": "small"}
        },
        "aliases": {},
        "store": {"kind": "redis", "prefix": folder.name},
    }
    write_config(folder / "gateway.yaml", "http://127.0.0.1:1", changes)
    return folder


def steelyard(folder, *lines, path=""):
    """Run commands one after another in a process of their own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMANDS, json.dumps(lines)],
        cwd=folder,
        env={"PYTHONPATH": f"{REPOSITORY}:{path}", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(folder):
    data, prices = ("--data", "outcomes.csv"), ("--prices", "prices.json")
    config = ("--config", "gateway.yaml")
    return steelyard(
        folder,
        ("fit", *data, *prices, "--recipe", "recipe.yaml", "--out", "router"),
        ("gate", "--artifact", "router", "--train", "outcomes.csv", "--draws", "100"),
        ("evaluate", "--artifact", "router", *data, "--draws", "100", "--json"),
        ("check-config", "gateway.yaml", "--no-env"),
        ("explain", "prove the theorem", "--cost-quality", "1", *config, "--json"),
        path=folder / "site",
    )


def test_a_package_brings_a_router_that_every_command_knows(trained):
    fitted, judged, *others = json.loads(trained.stderr.splitlines()[-1])
    assert judged in (0, 3), trained.stdout
    assert [fitted, *others] == [0, 0, 0, 0], trained.stderr
    assert '"model": "large"' in trained.stdout
    assert "gateway.yaml is fine" in trained.stdout
    assert '"note": "strategy my-ridge"' in trained.stdout


async def test_workers_serve_what_a_plugin_brings(trained, folder, redis_server):
    assert trained.returncode == 0
    plugin = str(folder / "site" / "ridge_router.py")
    arguments = ("--plugin", plugin, "--workers", "2")
    env = {"STEELYARD_REDIS_URL": redis_server.url}
    async with (
        gateway_process(folder / "gateway.yaml", *arguments, env=env) as gateway,
        gateway.client() as client,
    ):
        for prompt, model in (("say hello number 3", "small"), ("prove the theorem", "large")):
            body = {"model": "auto:0.9", "messages": [{"role": "user", "content": prompt}]}
            answer = (await client.post("/v1/route", json=body)).json()
            assert answer["model"] == model


def test_without_the_package_the_artifact_says_what_is_missing(trained, folder):
    assert trained.returncode == 0
    checked = ("check-config", "gateway.yaml", "--no-env")
    ended = steelyard(folder, checked, (*checked, "--plugin", "site/ridge_router.py"))
    assert json.loads(ended.stderr.splitlines()[-1]) == [2, 0], ended.stderr
    assert "unknown strategy 'my-ridge'" in ended.stderr
    assert "--plugin MODULE" in ended.stderr


def test_a_package_that_cannot_be_loaded_is_told_by_its_entry_point(trained, folder, monkeypatch):
    assert trained.returncode == 0
    monkeypatch.syspath_prepend(folder / "site")
    # None of them is imported here that registers itself: this process runs other tests too.
    assert {"broken", "my-ridge", "carrot"} <= set(ROUTERS.kinds())
    with pytest.raises(RoutingConfigError, match=r"broken = nowhere:Gone .* cannot be loaded"):
        ROUTERS.get("broken")
    with pytest.raises(RoutingConfigError, match=r"no class derived from routers.*Router"):
        ROUTERS.get("not-a-router")


def test_shipped_kinds_are_not_replaced():
    registry = Registry("routers.strategies", noun="strategy")
    with pytest.raises(RoutingConfigError, match="cannot take the name 'carrot'"):
        registry.register("carrot")(type("Own", (), {"__module__": "elsewhere"}))
    own = type("Own", (), {"__module__": "elsewhere"})
    assert registry.register("own")(own) is own
    # As when a cell of a notebook runs again.
    again = registry.register("own")(type("Own", (), {"__module__": "elsewhere"}))
    assert registry.get("own") is again


def test_a_class_is_of_the_kind_that_it_is_registered_under():
    # One that is derived from a shipped one would be loaded as that else.
    registry = Registry("routers.strategies", noun="strategy", group="steelyard.routers")
    derived = registry.register("own-cheapest")(
        type("Own", (ROUTERS.get("cheapest"),), {"__module__": "elsewhere"})
    )
    assert derived.kind == "own-cheapest"
    assert ROUTERS.get("cheapest").kind == "cheapest"
    assert registry.knows("own-cheapest")
    assert registry.knows("carrot")
    assert not registry.knows("nothing-such")


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("no_such_plugin_here", None, "No module named"),
        ("gone.py", None, "there is no such file"),
        ("json.py", "", "a module named 'json' is loaded already"),
        ("failing_plugin.py", "1 / 0", r"cannot be imported \(ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, name, source, message):
    file = tmp_path / name
    if source is not None:
        file.write_text(source)
    with pytest.raises(RoutingConfigError, match=message):
        load_plugins([str(file) if name.endswith(".py") else name])
