"""`steelyard fit-guard`: labelled prompts in, an artifact whose guard a gateway runs out."""

import json

import httpx
import pytest
from click.testing import CliRunner

from app.assembly.artifacts import DEFAULT_ARTIFACT
from routers.artifact.load import load_artifact
from routers.commands import fit_guard
from routers.data.guard_labels import read_guard_labels
from routers.errors import DataError
from tests.support.gateway import GatewayThread, stub_config
from tests.support.guard_worlds import write_prompts
from tests.support.several import JUDGE, LARGE, NANO, Models


def fit(*arguments):
    return CliRunner().invoke(fit_guard.command, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    write_prompts(folder / "prompts.jsonl", n=400)
    result = fit(
        *("--fast", "default", "--data", folder / "prompts.jsonl"),
        *("--out", folder / "artifact", "--slow-model", JUDGE, "--slow-share", 0.25, "--json"),
    )
    assert result.exit_code == 0, result.output
    (folder / "report.json").write_text(result.stdout)
    return folder


def test_it_tells_what_it_learned(folder):
    report = json.loads((folder / "report.json").read_text())
    found = report["figures"]
    assert found["slow_share"] == pytest.approx(0.25, abs=0.02)
    assert found["router"] > max(found["entropy"], found["fast"])
    assert found["router_routing_f1"] > found["entropy_routing_f1"]


def test_the_router_is_as_it_was(folder):
    before, after = load_artifact(DEFAULT_ARTIFACT), load_artifact(folder / "artifact")
    assert before.workflow is None
    assert after.workflow.kind == "guarded"
    assert after.models == before.models
    assert after.knob.cost_quality == before.knob.cost_quality
    # Worked out anew: processors differ in the last digits of what they add up.
    assert after.knob.usd_per_quality == pytest.approx(before.knob.usd_per_quality, rel=1e-5)
    assert after.manifest["metrics"]["guard"]["n_prompts"] == 400


def test_csv_says_the_same(folder):
    write_prompts(folder / "prompts.csv", n=400)
    lines, rows = (read_guard_labels(folder / f"prompts.{each}") for each in ("jsonl", "csv"))
    assert lines.conversations == rows.conversations
    assert (lines.harmful == rows.harmful).all()
    assert (lines.slow == rows.slow).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"prompt": "a", "harmful": "maybe", "slow": True}, "line 1: 'harmful' must be true or"),
        ({"prompt": "a", "harmful": True}, "has both 'harmful' and 'slow'"),
        ({"harmful": True, "slow": True}, "prompt"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path, line, words):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(line))
    with pytest.raises(DataError, match=words):
        read_guard_labels(file)


def test_a_gateway_runs_it_under_options_of_its_own(folder, tmp_path):
    with Models() as models:
        models.reset()
        policy = {
            "router": "guarded",
            "candidates": [NANO, LARGE],
            "default_model": LARGE,
            "router_deadline_s": 20.0,
            "workflow": {"kind": "guarded", "when_harmful": {"models": [NANO]}},
        }
        changes = {
            "upstreams.stub": {"kind": "openai", "base_url": f"{models.url}/v1", "retries": 0},
            "routers": {"guarded": {"artifact": str(folder / "artifact")}},
            "policies": {"default": policy},
        }
        config = stub_config(tmp_path, models.url, changes=changes)
        models.said |= {JUDGE: "safe", NANO: "small", LARGE: "large"}
        with (
            GatewayThread(config) as gateway,
            httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
        ):
            seen = set()
            lines = (folder / "prompts.jsonl").read_text().splitlines()[:16]
            for prompt in [json.loads(line)["prompt"] for line in lines]:
                body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
                response = client.post("/v1/chat/completions", json=body)
                assert response.status_code == 200
                seen.add((response.headers["x-route-guard"], response.json()["model"] == NANO))
        models.release.set()
    guards = {guard for guard, _ in seen}
    assert guards == {"fast; harmful", "fast; harmless", "slow; harmless"}
    assert ("fast; harmful", False) not in seen
