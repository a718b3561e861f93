"""What a gateway prints when it listens is pasted into a shell and into Python, as it stands."""

import subprocess
import sys
from itertools import pairwise

import httpx
import pytest

from app.processes.welcome import welcome
from tests.integration.test_cli import config, serving  # noqa: F401  (fixtures)
from tests.integration.test_signals import rewrite
from tests.support.gateway import REPOSITORY, stub_config


def block(text, heading):
    """Return the paragraph below one that begins like that."""
    paragraphs = pairwise(text.strip().split("\n\n"))
    return next(after for before, after in paragraphs if before.startswith(heading))


def in_a_shell(lines):
    done = subprocess.run(
        ("bash", "-c", lines),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["no keys", "keys"])
def gateway(request, config, monkeypatch):  # noqa: F811
    monkeypatch.setenv("no_proxy", "*")
    if request.param == "keys":
        keys = {"auth": {"mode": "keys"}, "store": {"kind": "memory", "data_dir": "data"}}
        rewrite(config, lambda document: document.update(keys))
    with serving(config) as gateway:
        gateway.export = ":"
        if request.param == "keys":
            gateway.export = block(gateway.welcome, "Make a key")
        yield gateway


def test_what_is_printed_works_where_it_is_pasted(gateway):
    curl, python = (block(gateway.welcome, each) for each in ("Try it", "From Python"))
    answer = in_a_shell(f"{gateway.export}\n{curl}")
    assert " 200 OK" in answer
    assert '"choices"' in answer
    for how in ("-", "-i"):  # a file, and a session
        said = in_a_shell(f"{gateway.export}\n{sys.executable} {how} 2>&1 <<'EOF'\n{python}\n\nEOF")
        assert "Error" not in said
        assert "simulated" in said


def test_nothing_that_is_to_be_pasted_is_indented(tmp_path):
    text = welcome(stub_config(tmp_path, "http://stub"), host="::1", port=80, console=True)
    assert "Steelyard listens on http://[::1]:80 " in text
    for heading in ("Try it", "From Python"):
        pasted = block(text, heading)
        assert not pasted.startswith(" ")
        assert "http://[::1]:80/v1" in pasted


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "[::1]")],  # noqa: S104
)
def test_what_listens_everywhere_is_asked_where_it_can_be(tmp_path, host, asked):
    text = welcome(stub_config(tmp_path, "http://stub"), host=host, port=80, console=False)
    assert httpx.URL(f"http://{asked}:80/v1/chat/completions")
    assert f"http://{asked}:80/v1/chat/completions" in block(text, "Try it")


def test_a_gateway_without_policies_is_asked_for_a_model_that_it_has(tmp_path):
    changes = {"policies": {}, "routers": {}}
    config = stub_config(tmp_path, "http://stub", changes=changes)  # noqa: F811
    text = welcome(config, host="127.0.0.1", port=80, console=False)
    assert '"model": "sim-' in text
    assert "auto" not in text
    assert "cost-quality" not in text
