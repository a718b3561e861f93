"""Half of the questions about pictures need detail: traffic, feedback, and a router that knows.

The stub's answers say nothing of pictures; what an answer is worth is the world's own rule.
"""

import json
import random

import httpx
import pytest
from click.testing import CliRunner

from app.cli import cli
from routers.artifact.load import load_artifact
from routers.training.fit import fit
from routers.training.recipe import Recipe
from tests.support.gateway import GatewayThread, stub_config
from tests.support.media import jpeg, picture_part

CLOSE = (
    "Read the small print at the bottom of the {}",
    "Transcribe every line of text on the {}",
    "Which serial number is engraved on the {}",
    "Copy the footnote of the {} word for word",
)
FAR = (
    "Is it summer or winter around the {}",
    "What mood does the {} convey",
    "Is the sky above the {} blue or grey",
    "Would you call the {} modern or old-fashioned",
)
SUBJECTS = ("poster", "invoice", "street", "shop", "market", "station", "garden", "ship", "museum")
PHOTO = picture_part(jpeg(2560, 1440))
MODELS = ("sim-eye", *(f"sim-eye@{level}_detail" for level in ("low", "high", "original")))
MOST_LOSS = 0.1
SPARED = 0.5


def question(n):
    """Return the nth question, and whether low detail will not do for it."""
    chance = random.Random(n)
    close = n % 2 == 0
    words = chance.choice(CLOSE if close else FAR)
    return f"{words.format(chance.choice(SUBJECTS))}? ({n})", close


def worth(n, level):
    """Return what an answer is worth."""
    _, close = question(n)
    good = 0.1 if close and level == "low" else 0.9
    return min(1.0, max(0.0, good + random.Random(f"{n} {level}").gauss(0, 0.05)))


def body(n):
    content = [{"type": "text", "text": question(n)[0]}, PHOTO]
    return {"model": "auto:seeing", "messages": [{"role": "user", "content": content}]}


def changes(router, **more):
    return {
        "models.sim-eye": {"upstream": "stub", "upstream_model": "sim-small", "spec": "gpt-5.5"},
        "policies.seeing": {
            "router": router,
            "candidates": ["sim-eye"],
            "default_model": "sim-eye",
            "router_deadline_s": 10.0,
            "images": {"detail": "auto"},
        },
        **more,
    }


@pytest.fixture(scope="module")
def learned(stub_thread, artifacts, tmp_path_factory):
    """Return the folder of a router that was fitted on what clients said of answers."""
    folder = tmp_path_factory.mktemp("world")
    kept = {"store.data_dir": "data", "outcomes.contents": {"enabled": True}}
    config = stub_config(folder, stub_thread.origin, changes=changes("carrot", **kept))
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False) as client,
    ):
        for n in range(60):
            for level in ("low", "high", *(("original", None) if n % 5 == 0 else ())):
                if level is None:  # text alone, of which the router has to know something too
                    asked = {"model": "sim-eye", "messages": [{"role": "user", "content": f"{n}?"}]}
                    headers, score = {}, 0.9
                else:
                    asked, headers = body(n), {"x-route-detail": level}
                    score = worth(n, level)
                answer = client.post(
                    "/v1/chat/completions", json={**asked, "max_tokens": 5}, headers=headers
                )
                assert answer.status_code == 200, answer.text
                said = {"decision_id": answer.headers["x-route-decision-id"], "score": score}
                assert client.post("/v1/feedback", json=said).status_code == 200
    rows = folder / "rows.jsonl"
    command = ["export", "--config", str(folder / "gateway.yaml"), "--out", str(rows)]
    assert CliRunner().invoke(cli, command).exit_code == 0
    recipe = Recipe(
        options={"quality_head": {"kind": "knn", "options": {"n_neighbors": 8}}},
        blocks=("embedding", "lexical", "media"),
        calibration_folds=2,
    )
    prices = folder / "prices.json"
    prices.write_text(json.dumps({model: [5, 20] for model in MODELS}))
    fit(
        [rows],
        folder / "router",
        recipe=recipe,
        prices_file=prices,
        created_at="",
        steelyard_version="0",
    )
    return folder


def test_rows_of_feedback_tell_the_variant_and_the_sizes(learned):
    lines = [json.loads(line) for line in (learned / "rows.jsonl").read_text().splitlines()]
    assert {line["model"] for line in lines} == set(MODELS)
    seen = [line["media"] for line in lines if "media" in line]
    assert len(seen) == 132
    assert seen[0] == {"images": [{"width": 2560, "height": 1440, "detail": None}]}


def test_half_of_the_image_tokens_are_spared_at_the_same_quality(
    learned, artifacts, stub_thread, tmp_path
):
    config = stub_config(
        tmp_path,
        stub_thread.origin,
        changes=changes("eyes", **{"routers.eyes": {"artifact": str(learned / "router")}}),
    )
    artifacts = {**artifacts, "eyes": load_artifact(learned / "router")}
    tokens, quality, levels = [], [], []
    with (
        GatewayThread(config, artifacts=artifacts) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False) as client,
    ):
        for n in range(1_000, 1_060):
            headers = {"x-route-max-quality-loss": str(MOST_LOSS)}
            told = client.post("/v1/route", json=body(n), headers=headers).json()
            rows = {each["model"]: each for each in told["candidates"]}
            chosen = told["decision"]["model"]
            levels.append(chosen.partition("@")[2].removesuffix("_detail"))
            tokens.append(
                rows[chosen]["input_tokens"] / rows["sim-eye@original_detail"]["input_tokens"]
            )
            quality.append(worth(n, levels[-1]) - worth(n, "original"))
            assert rows[chosen]["evidence"] == "outcomes"
    assert {"low", "high"} <= set(levels)
    assert sum(tokens) / len(tokens) <= 1 - SPARED
    assert sum(quality) / len(quality) >= -0.02
