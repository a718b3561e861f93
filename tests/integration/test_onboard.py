"""`steelyard onboard` over real HTTP: a simulated model, a perfect one and broken ones."""

import json
import statistics
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.cli import main
from routers.artifact.load import load_artifact
from routers.training.onboarding.anchors import SHIPPED_ANCHORS, read_anchors
from tests.support.gateway import CONFIGS, read_yaml, write_yaml
from tests.support.stub import StubThread

ANSWERS = {
    "format-01": "red,green,blue",
    "format-02": "red,green,blue,black,white",
    "format-06": "READY\nREADY",
    "format-07": "READY\nREADY\nREADY\nREADY",
    "format-12": "- apple\n- pear\n- plum",
    "format-13": "- apple\n- pear\n- plum\n- fig",
}


def right_answers():
    """Return the right answer to every shipped anchor, by prompt."""
    found = {}
    for anchor in read_anchors(SHIPPED_ANCHORS).anchors:
        plain = anchor.expected.replace("\\s*", " ").replace("\\", "")
        found[anchor.prompt] = ANSWERS.get(anchor.anchor_id, plain)
    return found


class Upstream(ThreadingHTTPServer):
    """An OpenAI-compatible model that knows every answer, unless told otherwise."""

    daemon_threads = True

    def __init__(self, *, failing=lambda _: None, say=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.known = right_answers()
        self.failing, self.say = failing, say
        self.bodies = []
        self.lock = threading.Lock()

    def handle_error(self, *_):
        """Say nothing of clients that left."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            status = self.server.failing(len(self.server.bodies))
        text = self.server.say or self.server.known.get(body["messages"][-1]["content"], "?")
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "perfect",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27},
        }
        if status is not None:
            answer = {"error": {"message": "not now", "type": "server_error"}}
        data = json.dumps(answer).encode()
        self.send_response(status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def upstream(**options):
    server = Upstream(**options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


def write_config(folder, base_url, *, upstream_model="sim-nano", **fields):
    document = read_yaml(CONFIGS / "gateway.yaml")
    document["catalogue"] = str(CONFIGS / "models.yaml")
    document["stub"] = None
    document["upstreams"]["stub"]["base_url"] = base_url
    document["upstreams"]["stub"].update(fields)
    document["models"]["fresh"] = {
        "upstream": "stub",
        "upstream_model": upstream_model,
        "spec": "gpt-3.5-turbo-1106",
        "predicted_as": "fresh",
    }
    file = folder / "gateway.yaml"
    write_yaml(file, document)
    return file


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def url_of(server):
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_a_model_that_answers_right_is_placed_above_most_others(run, tmp_path):
    with upstream() as server:
        config = write_config(tmp_path, url_of(server))
        out = tmp_path / "router"
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", out, "--yes", "--json"),
            *("--n-anchors", 60, "--max-output-tokens", 200, "--max-cost", 1),
        )
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["anchor_quality"]["mean"] > 0.97
    assert summary["anchor_quality"]["n"] == 60
    assert summary["quality"]["low"] < summary["quality"]["mean"] < summary["quality"]["high"]
    peers = summary["peers"]
    # The anchors are easy: that the best can do more is known of these by harder ones.
    assert peers["fresh"] > statistics.median(peers.values())
    assert set(summary["by_kind"]) >= {"arithmetic", "code", "knowledge"}
    assert summary["unanswered"] == 0
    assert summary["median_output_tokens"] == 7
    assert summary["token_ratio"] < 1
    assert summary["cost_usd"] == pytest.approx(60 * (20 * 1.0 + 7 * 2.0) / 1e6)
    assert len(server.bodies) == 60
    assert all(body["max_tokens"] == 200 for body in server.bodies)
    assert all(body["model"] == "sim-nano" for body in server.bodies)
    assert "60 calls to fresh: about" in stderr
    assert "fresh: 60/60 asked, 0 without an answer" in stderr
    artifact = load_artifact(out)
    assert artifact.models[-1] == "fresh"
    assert artifact.version == summary["version"]
    assert artifact.manifest["onboarded"][0]["model"] == "fresh"


def test_a_variant_is_asked_with_its_prompt_and_placed_as_a_model_of_its_own(run, tmp_path):
    prompt = "Answer in one word."
    with upstream() as server:
        file = write_config(tmp_path, url_of(server))
        document = read_yaml(file)
        document["models"]["fresh"] |= {"variants": {"concise": {"prompt": {"system": prompt}}}}
        write_yaml(file, document)
        out = tmp_path / "router"
        code, stdout, stderr = run(
            *("onboard", "fresh@concise", "--config", file, "--out", out, "--yes", "--json"),
            *("--n-anchors", 30, "--max-cost", 1),
        )
    assert code == 0, stderr
    assert {body["messages"][0]["content"] for body in server.bodies} == {prompt}
    assert load_artifact(out).models[-1] == "fresh@concise"
    assert json.loads(stdout)["anchor_quality"]["n"] == 30


def test_a_simulated_model_is_found_to_know_nothing_and_can_be_served(run, tmp_path):
    with StubThread() as stub:
        config = write_config(tmp_path, stub.base_url)
        out = tmp_path / "router"
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", out, "--yes", "--n-anchors", 100)
        )
        assert code == 0, stderr
        assert len(stub.log()) == 100
    assert "wrote" in stdout
    assert "arithmetic" in stdout
    ranked = [line.split()[-1] for line in stdout.splitlines() if line.strip()]
    assert ranked[-1] == "fresh"
    document = read_yaml(config)
    document["routers"]["carrot"]["artifact"] = str(out)
    document["policies"]["default"]["candidates"].append("fresh")
    write_yaml(config, document)
    code, stdout, stderr = run("explain", "What is a steelyard?", "--config", config, "--json")
    assert code == 0, stderr
    assert "fresh" in stdout


def test_a_peer_that_answers_the_same_anchors_sets_the_scale(run, tmp_path):
    """Both know every answer: the anchors are easy, so the new model is not a marvel."""
    with upstream() as server:
        config = write_config(tmp_path, url_of(server))
        common = ("onboard", "fresh", "--config", config, "--yes", "--json", "--n-anchors", 40)
        code, alone, _ = run(*common, "--out", tmp_path / "alone")
        assert code == 0
        code, beside, stderr = run(*common, "--out", tmp_path / "beside", "--peer", "sim-frontier")
    assert code == 0, stderr
    assert len(server.bodies) == 120
    assert "together: about" in stderr
    assert json.loads(beside)["quality"]["mean"] < json.loads(alone)["quality"]["mean"] - 0.01
    assert json.loads(beside)["cost_usd"] > json.loads(alone)["cost_usd"]
    recorded = load_artifact(tmp_path / "beside").manifest["onboarded"][0]
    assert recorded["peers"] == ["claude-opus-5-5"]


def test_a_peer_has_to_be_known_to_the_router(run, tmp_path):
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    code, _, stderr = run(
        *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--peer", "fresh"),
    )
    assert code == 2
    assert "--peer takes models that it was" in stderr


def test_calls_that_fail_are_repeated(run, tmp_path):
    with upstream(failing=lambda n: 503 if n in (1, 7) else None) as server:
        config = write_config(tmp_path, url_of(server))
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--yes"),
            *("--n-anchors", 20, "--json", "--limit-field", "max_completion_tokens"),
        )
    assert code == 0, stderr
    assert len(server.bodies) == 22
    assert json.loads(stdout)["unanswered"] == 0
    assert all("max_completion_tokens" in body for body in server.bodies)


def test_a_model_that_refuses_everything_is_not_asked_on(run, tmp_path):
    with upstream(failing=lambda _: 400) as server:
        config = write_config(tmp_path, url_of(server))
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--yes"),
            *("--concurrency", 2),
        )
    assert code == 2
    assert stdout == ""
    assert "not now" in stderr
    assert len(server.bodies) < 15
    assert not (tmp_path / "r").exists()


def test_an_answer_in_another_shape_is_one_line(run, tmp_path):
    with upstream(say=[{"type": "text", "text": "4"}]) as server:
        config = write_config(tmp_path, url_of(server))
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--yes"),
            *("--n-anchors", 10),
        )
    assert code == 2
    assert stdout == ""
    assert "no chat completion" in stderr
    assert "Traceback" not in stderr


def test_too_few_answers_are_not_enough(run, tmp_path):
    with upstream(failing=lambda n: 400 if n % 3 == 0 else None) as server:
        config = write_config(tmp_path, url_of(server))
        code, _, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--yes"),
            *("--n-anchors", 30),
        )
    assert code == 2
    assert "answered 20 of 30 anchors" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --yes"),
        (["--yes", "--max-cost", "0.0001"], "more than --max-cost 0.0001"),
        (["--yes", "--name", "gpt-4-1106-preview"], "under another name"),
        (["--yes", "--anchors", "absent.jsonl"], "absent.jsonl: cannot be read"),
        (["--yes", "--artifact", "absent"], "absent is no artifact"),
    ],
)
def test_nothing_is_asked_without_consent_or_with_a_mistake(run, tmp_path, arguments, message):
    with upstream() as server:
        config = write_config(tmp_path, url_of(server))
        code, stdout, stderr = run(
            "onboard", "fresh", "--config", config, "--out", tmp_path / "r", *arguments
        )
    assert code == 2
    assert message in stderr
    assert stdout == ""
    assert server.bodies == []


def test_an_unknown_model_and_a_missing_key_are_named(run, tmp_path, monkeypatch):
    config = write_config(tmp_path, "http://127.0.0.1:9/v1")
    code, _, stderr = run("onboard", "nobody", "--config", config, "--out", tmp_path / "r")
    assert code == 2
    assert "no model 'nobody'" in stderr
    monkeypatch.delenv("FRESH_KEY", raising=False)
    config = write_config(tmp_path, "http://127.0.0.1:9/v1", api_key_env="FRESH_KEY")
    code, _, stderr = run("onboard", "fresh", "--config", config, "--out", tmp_path / "r")
    assert code == 2
    assert "FRESH_KEY" in stderr


def test_own_anchors_bring_what_other_models_made_of_them(run, tmp_path):
    trained = load_artifact(CONFIGS.parent / "routers/pretrained/default").models
    lines = [
        {
            "id": f"q{i}",
            "kind": "own",
            "prompt": f"Say the word number{i}.",
            "checker": "exact",
            "expected": "yes" if i % 3 else "no",
            "outcomes": {trained[0]: float(i % 3 > 0), trained[1]: 1.0},
        }
        for i in range(40)
    ]
    anchors = tmp_path / "own.jsonl"
    anchors.write_text("\n".join(json.dumps(line) for line in lines))
    with upstream(say="Yes.") as server:
        config = write_config(tmp_path, url_of(server))
        code, stdout, stderr = run(
            *("onboard", "fresh", "--config", config, "--out", tmp_path / "r", "--yes"),
            *("--anchors", anchors, "--json", "--name", "other-name"),
        )
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["model"] == "other-name"
    assert summary["anchor_quality"]["mean"] == pytest.approx(26 / 40)
    assert list(summary["by_kind"]) == ["own"]
