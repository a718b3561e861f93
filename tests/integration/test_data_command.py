"""`data` as a user runs it, against a real HTTP server that knows ranges."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from routers.commands import data
from routers.errors import DataError
from tests.support.outcomes import write_outcomes

ROOT = Path(__file__).parents[2]
BODY = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve BODY; `/cut.bin` ends after half of it once, `/plain.bin` ignores ranges."""

    def do_GET(self):
        server = self.server
        start = 0
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if self.path == "/absent.bin":
            self.send_error(404)
            return
        if asked and self.path != "/plain.bin":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(BODY):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        end = len(BODY) // 2 if self.path == "/cut.bin" and not start else len(BODY)
        self.wfile.write(BODY[start:end])

    def log_message(self, *args):
        """Stay silent."""


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def listed(server, tmp_path) -> Path:
    base = f"http://127.0.0.1:{server.server_port}"
    good = hashlib.sha256(BODY).hexdigest()
    entries = {
        name: {"url": f"{base}/{name}.bin", "format": "wide", "licence": "MIT", "sha256": good}
        for name in ("whole", "cut", "plain", "absent")
    }
    entries["wrong"] = {**entries["whole"], "url": f"{base}/wrong.bin", "sha256": "0" * 64}
    entries["named"] = {**entries["whole"], "file": "mine.parquet"}
    entries["offline"] = {**entries["whole"], "url": "http://127.0.0.1:9/x.bin"}
    entries["local"] = {**entries["whole"], "url": "file:///etc/hostname"}
    (tmp_path / "datasets.yaml").write_text(json.dumps(entries))  # JSON is YAML
    return tmp_path / "datasets.yaml"


def run(*args):
    return CliRunner().invoke(data.command, [str(arg) for arg in args])


def fetch(listed, name, *extra):
    return run("fetch", name, "--datasets", listed, "--out", listed.parent / "out", *extra)


def test_a_file_is_fetched_and_verified_once(listed, server):
    result = fetch(listed, "whole", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["bytes"], summary["verified"]) == (len(BODY), True)
    assert Path(summary["file"]).read_bytes() == BODY
    assert fetch(listed, "whole").exit_code == 0
    assert len(server.asked) == 1


def test_a_file_that_was_there_before_is_verified_too(listed, server):
    (listed.parent / "out").mkdir()
    (listed.parent / "out/whole.bin").write_bytes(b"something else")
    result = fetch(listed, "whole")
    assert isinstance(result.exception, DataError)
    assert "move it away" in str(result.exception)
    assert server.asked == []


def test_the_file_may_have_a_name_of_its_own_and_the_next_step_is_told(listed):
    result = fetch(listed, "named")
    assert result.exit_code == 0, result.output
    target = listed.parent / "out/mine.parquet"
    assert target.read_bytes() == BODY
    assert "checksum verified" in result.stdout
    assert f"convert --format wide --in {target}" in result.stdout


def test_an_interrupted_download_goes_on_where_it_ended(listed, server):
    result = fetch(listed, "cut")
    assert isinstance(result.exception, DataError)
    assert "run the same command to go on" in str(result.exception)
    half = len(BODY) // 2
    assert (listed.parent / "out/cut.bin.part").stat().st_size == half
    assert fetch(listed, "cut").exit_code == 0
    assert server.asked == [None, f"bytes={half}-"]
    assert (listed.parent / "out/cut.bin").read_bytes() == BODY
    assert not (listed.parent / "out/cut.bin.part").exists()


@pytest.mark.parametrize(("name", "have"), [("plain", 1000), ("whole", len(BODY))])
def test_servers_without_ranges_and_complete_parts_are_no_trouble(listed, name, have):
    (listed.parent / "out").mkdir()
    (listed.parent / f"out/{name}.bin.part").write_bytes(BODY[:have])
    assert fetch(listed, name).exit_code == 0
    assert (listed.parent / f"out/{name}.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "instead of 0000"),
        ("absent", "the server answers 404"),
        ("offline", "cannot be reached"),
        ("local", "only http and https"),
        ("nothing", "unknown data set 'nothing'; known: whole"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(listed, name, message):
    result = fetch(listed, name)
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list((listed.parent / "out").glob("*")) == []


def test_the_list_of_the_repository_is_sound_and_names_formats_that_exist():
    result = run("list", "--datasets", ROOT / "configs/datasets.yaml", "--json")
    found = json.loads(result.stdout)
    assert {"routerbench", "sprout-1", "arena-55k", "embedllm"} <= found["datasets"].keys()
    formats = {dataset["format"] for dataset in found["datasets"].values()}
    assert formats <= {*found["formats"], "pickle"}
    targets = [dataset["file"] or dataset["url"] for dataset in found["datasets"].values()]
    assert len(set(targets)) == len(targets)  # no download takes another one for its own
    for dataset in found["datasets"].values():
        assert dataset["seen"] or (dataset["licence"], dataset["sha256"]) == (None, None)
    text = run("list", "--datasets", ROOT / "configs/datasets.yaml").stdout
    assert "no licence named" in text
    assert "seen 2026" in text


def test_defects_of_the_list_are_named(tmp_path):
    (tmp_path / "d.yaml").write_text("x: {url: a, format: b, licence: null, sha256: short}")
    result = run("list", "--datasets", tmp_path / "d.yaml")
    assert "x.sha256" in str(result.exception)
    assert "--datasets" in str(run("list", "--datasets", tmp_path / "absent.yaml").exception)


def test_convert_writes_what_it_says(tmp_path):
    source = write_outcomes(tmp_path / "wide.parquet", n=30)
    result = run(
        *("convert", "--format", "wide", "--in", source),
        *("--out", tmp_path / "sub/out.jsonl", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["queries"] == 30
    assert len((tmp_path / "sub/out.jsonl").read_text().splitlines()) == 60
