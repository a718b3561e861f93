"""The `steelyard` command as its users run it: real processes, real ports."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from app.cli import main
from tests.support.decided import untimed
from tests.support.gateway import (
    CONFIGS,
    REPOSITORY,
    STUB_MODELS,
    patient,
    read_yaml,
    write_yaml,
)
from tests.support.redis_server import free_port

ASK = {"model": "auto", "messages": [{"role": "user", "content": "What is a steelyard?"}]}


def command(*arguments):
    return [sys.executable, "-m", "app", *map(str, arguments)]


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments):
    """Run a command that ends by itself."""
    process = subprocess.run(
        command(*arguments),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(process.returncode, process.stdout, process.stderr)


@pytest.fixture
def run_here(capsys, monkeypatch):
    """Run a command in this process, which saves the time that a new one takes to start."""
    monkeypatch.setenv("COLUMNS", "120")

    def run_here(*arguments):
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as exit_:
            code = exit_.code
        return Ended(code, *capsys.readouterr())

    return run_here


def assert_one_line(process, *words):
    """Check that a command failed as a mistake of its user's."""
    assert process.returncode == 2, process.stderr
    assert process.stdout == ""
    assert process.stderr.startswith("steelyard: ")
    assert process.stderr.count("\n") == 1
    for word in words:
        assert word in process.stderr


@pytest.fixture
def config(tmp_path):
    """Write the default configuration with a stub port of its own."""
    document = read_yaml(CONFIGS / "gateway.yaml")
    port = free_port()
    document["catalogue"] = str(CONFIGS / "models.yaml")
    document["stub"] = {"port": port, "speed": 0}
    document["upstreams"]["stub"]["base_url"] = f"http://127.0.0.1:{port}/v1"
    file = tmp_path / "gateway.yaml"
    write_yaml(file, patient(document))
    return file


def stub_port(config):
    return read_yaml(config)["stub"]["port"]


class Serving:
    def __init__(self, process, welcome):
        self.process = process
        self.welcome = welcome
        self.url = re.search(r"listens on (http://\S+)", welcome)[1]


@contextmanager
def serving(config, *arguments):
    """Run `steelyard serve` on a free port until the block ends."""
    process = subprocess.Popen(
        command("serve", "--config", config, "--port", "0", *arguments),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        welcome = ""
        while "Stop with Ctrl-C" not in welcome:
            line = process.stdout.readline()
            assert line, f"it ended at once: {welcome}"
            welcome += line
        yield Serving(process, welcome)
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def assert_stub_ends(connection):
    """Wait until the stub's side of a connection closes: its process is gone."""
    connection.settimeout(60)
    assert connection.recv(1) == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_serve_answers_until_it_is_stopped_and_leaves_no_stub_behind(config, number):
    with (
        serving(config) as gateway,
        socket.create_connection(("127.0.0.1", stub_port(config))) as to_stub,
    ):
        response = httpx.post(
            f"{gateway.url}/v1/chat/completions", json=ASK, trust_env=False, timeout=30
        )
        assert response.status_code == 200
        assert "simulated" in response.json()["choices"][0]["message"]["content"]
        assert httpx.get(f"{gateway.url}/readyz", trust_env=False).json()["status"] == "ready"
        gateway.process.send_signal(number)
        gateway.process.wait(60)
        assert_stub_ends(to_stub)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{gateway.url}/healthz", trust_env=False)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_serve_prints_leads_to_the_documentation(config):
    with serving(config) as gateway:
        assert "simulated" in gateway.welcome
        docs = re.search(r"http://\S+/docs", gateway.welcome)[0]
        page = httpx.get(docs, trust_env=False)
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]


def test_several_workers_need_a_store_that_they_share(config):
    assert_one_line(run("serve", "--config", config, "--workers", "2"), "kind: redis")


def test_redis_without_an_address_is_one_line(config, monkeypatch):
    monkeypatch.delenv("STEELYARD_REDIS_URL", raising=False)
    share(config)
    assert_one_line(run("serve", "--config", config), "STEELYARD_REDIS_URL, which is not set")


def share(config):
    document = read_yaml(config)
    document["store"] = {"kind": "redis", "prefix": "test-cli", "timeout_s": 5.0}
    write_yaml(config, document)


@pytest.fixture
def shared(config, redis_server, monkeypatch):
    """Let all workers use one Redis."""
    monkeypatch.setenv("STEELYARD_REDIS_URL", redis_server.url)
    share(config)
    return config


def test_serve_with_two_workers_answers_and_stops(shared):
    config = shared
    with (
        serving(config, "--workers", "2") as gateway,
        socket.create_connection(("127.0.0.1", stub_port(config))) as to_stub,
    ):
        for _ in range(4):
            response = httpx.post(
                f"{gateway.url}/v1/chat/completions", json=ASK, trust_env=False, timeout=60
            )
            assert response.status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) == 0
        assert_stub_ends(to_stub)


def test_a_port_that_is_taken_is_one_line(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = run("serve", "--config", config, "--port", port)
    assert_one_line(process, f"cannot listen on 127.0.0.1:{port}", "--port")


def test_a_stub_port_that_is_taken_is_one_line(config):
    port = stub_port(config)
    with socket.create_server(("127.0.0.1", port)):
        process = run("serve", "--config", config, "--port", "0")
    assert_one_line(process, "simulated upstream", str(port))


def test_serve_with_a_bad_configuration_is_one_line(config, tmp_path):
    assert_one_line(run("serve", "--config", tmp_path / "gone.yaml"), "gone.yaml", "No such file")
    config.write_text(config.read_text(encoding="utf-8") + "modles: {}\n", encoding="utf-8")
    assert_one_line(run("serve", "--config", config), "modles")


def test_explain_prints_a_table_of_every_candidate(run_here, config):
    process = run_here("explain", "What is 12 * 12?", "--config", config, "--cost-quality", "0")
    assert (process.returncode, process.stderr) == (0, "")
    for model in STUB_MODELS:
        assert model in process.stdout
    assert "▶ sim-nano at cost-quality 0" in process.stdout
    assert "turn the knob up to" in process.stdout
    assert "turn the knob down: nothing changes" in process.stdout


def test_explain_takes_what_is_no_text_of_the_locale(run_here, config):
    disguised = "Wie groß?".encode().decode("ascii", "surrogateescape")
    for prompt in (disguised, "\udcff"):
        process = run_here("explain", prompt, "--config", config)
        assert (process.returncode, process.stderr) == (0, "")


def test_explain_decides_like_the_gateway(run_here, config, gateway):
    for t in ("0", "0.5", "quality", "1"):
        process = run_here(
            "explain",
            ASK["messages"][0]["content"],
            "--config",
            config,
            "--cost-quality",
            t,
            "--json",
        )
        explained = json.loads(process.stdout)
        decided = httpx.post(
            f"{gateway.url}/v1/route", json=ASK, headers={"x-cost-quality": t}, trust_env=False
        ).json()
        for key in ("model", "cost_quality", "counterfactual"):
            assert explained[key] == decided[key]
        assert [untimed(each) for each in explained["candidates"]] == [
            untimed(each) for each in decided["candidates"]
        ]


def test_explain_says_in_one_line_what_is_wrong(run_here, config):
    ask = ("explain", "hello", "--config", config)
    assert_one_line(run_here(*ask, "--cost-quality", "7"), "--cost-quality", "0 to 1")
    assert_one_line(run_here(*ask, "--policy", "nope"), "unknown policy 'nope'", "economy")
    assert_one_line(run_here(*ask, "--max-cost", "0"), "sim-nano", "limit")
    assert_one_line(run_here(*ask, "--max-cost", "-1"), "--max-cost")


@pytest.mark.parametrize(
    "name",
    [
        "gateway.yaml",
        "gateway.openai.yaml",
        "gateway.docker.yaml",
        "gateway.workflows.yaml",
        "gateway.embeddings.yaml",
    ],
)
def test_check_config_passes_what_is_shipped_without_its_secrets(run_here, monkeypatch, name):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    process = run_here("check-config", "--no-env", "--strict", CONFIGS / name)
    assert (process.returncode, process.stderr) == (0, "")
    assert f"{name} is fine" in process.stdout


def test_check_config_says_in_one_line_what_is_wrong(run_here, config, tmp_path):
    document = read_yaml(config)
    for path, value, words in (
        ("models.sim-nano.upstream", "nope", ("models.sim-nano.upstream", "nope")),
        ("upstreams.stub.kind", "telepathy", ("telepathy", "openai")),
        ("models.sim-nano.predicted_as", "gpt-9", ("sim-nano", "gpt-9", "predicted_as")),
        ("routers.carrot.artifact", "nowhere", ("carrot", "nowhere")),
    ):
        changed = json.loads(json.dumps(document))
        *parents, last = path.split(".")
        place = changed
        for parent in parents:
            place = place[parent]
        place[last] = value
        write_yaml(config, changed)
        assert_one_line(run_here("check-config", config), *words)
    assert_one_line(run_here("check-config", tmp_path / "gone.yaml"), "gone.yaml")
    assert_one_line(run_here("check-config", "--config", tmp_path / "gone.yaml"), "gone.yaml")
    assert_one_line(run_here("check-config"), "FILE")


def test_explain_gives_no_advice_about_the_knob_where_nobody_is_in_time(run_here):
    options = ("--config", CONFIGS / "gateway.yaml", "--max-latency-ms", "1")
    process = run_here("explain", "Prove that there are infinitely many primes", *options)
    assert process.returncode == 0
    assert process.stdout.count("never: later") == 4
    assert process.stdout.count("nothing changes") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_refuses_in_one_line_what_it_finds_out_while_it_builds(shared, workers):
    document = read_yaml(shared)
    document["routers"]["carrot"]["artifact"] = "nowhere"
    write_yaml(shared, document)
    ended = run("serve", "--config", shared, "--port", "0", "--workers", workers)
    assert_one_line(ended, "carrot", "nowhere")


@pytest.mark.parametrize(
    "arguments",
    [
        ("serv",),
        ("serve", "--prot", "1"),
        ("serve", "--port", "x"),
        ("serve", "--workers", "0"),
        ("serve", "extra"),
        ("explain",),
        ("check-config",),
        ("--nope",),
    ],
)
def test_a_mistyped_command_is_one_line(run_here, arguments):
    assert_one_line(run_here(*arguments))


def test_help_and_version_are_at_hand(run_here):
    listed = run("--help")
    assert listed.returncode == 0
    for name in ("serve", "check-config", "explain", "fit", "route-batch"):
        assert name in listed.stdout
    assert "--workers" in run_here("serve", "--help").stdout
    assert re.fullmatch(r"steelyard, version \S+\n", run_here("--version").stdout)
