"""`steelyard watch` beside a running gateway whose upstream has another model answer."""

import json
import time
from functools import partial

import httpx
import pytest

from app.cli import main
from tests.integration.test_provider_watch import (
    BEST,
    CANARIES,
    FREE_ENOUGH,
    LEARNED,
    TOKEN,
    WATCH,
    WORST,
    World,
    world,
)
from tests.support.gateway import GatewayThread, stub_config
from tests.support.stub import StubThread

__all__ = ["world"]


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command as a shell would; return its code, and what it printed."""
    monkeypatch.delenv("STEELYARD_ADMIN_TOKEN", raising=False)

    def run(gateway, *words, token=TOKEN):
        options = ["--url", getattr(gateway, "url", gateway)]
        options += [] if token is None else ["--token", token]
        capsys.readouterr()
        code = 0
        try:
            main(["watch", *words, *options])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_worse_tier_is_shown_with_its_evidence_and_can_be_cleared(world, run):
    gateway = world("demote")
    gateway.ask_often(LEARNED)
    code, calm, _ = run(gateway, "list")
    assert code == 0
    assert "mode demote: warning at evidence 1e+05, demoted at 1e+07" in calm
    assert "evidence" not in calm.partition(BEST)[2].splitlines()[0]
    gateway.disguise(WORST)
    gateway.ask_often(400)
    code, shown, _ = run(gateway, "list")
    assert code == 0
    (row,) = [line for line in shown.splitlines() if line.startswith(f"{BEST} ")][:1]
    assert "demoted" in row
    details = shown.partition(f"{BEST} at stub: demoted")[2]
    assert "changed    shorter" in details
    assert "shorter" in details.partition("evidence")[2].splitlines()[0]
    assert "next       returns at return evidence 1000" in details
    assert "sim-small at" not in shown  # nothing is held against it

    told = json.loads(run(gateway, "list", BEST, "--json")[1])
    (known,) = told["data"]
    assert known["evidence"] >= told["warns_at"]
    assert known["tried_at"] == pytest.approx(known["since"] + 80_000)
    assert known["alone_at"]["shorter"] == pytest.approx(told["warns_at"] / 0.2)

    code, cleared, _ = run(gateway, "clear", BEST)
    assert (code, gateway.watched()["level"]) == (0, "ok")
    assert f"{BEST} at stub: ok" in cleared
    code, relearned, _ = run(gateway, "relearn", BEST)
    assert (code, gateway.watched()["answers_learned"]) == (0, 0)
    assert "an operator cleared it" in relearned


def test_a_model_is_pinned_frozen_and_checked(world, run):
    gateway = world("warn", canaries=FREE_ENOUGH)
    code, shown, _ = run(gateway, "pin", BEST, "demoted", "--upstream", "stub")
    assert code == 0
    assert "demoted, pinned" in shown
    assert "stays demoted until an operator clears it" in shown
    assert gateway.ask(BEST) == (BEST, "demoted")
    assert run(gateway, "clear", BEST)[0] == 0
    assert run(gateway, "freeze", BEST)[0] == 0
    assert gateway.watched()["frozen"]
    checked = json.loads(run(gateway, "check", BEST, "-n", "3", "--json")[1])
    assert checked["data"][0]["canaries"] == 3
    assert len(checked["data"]) == 1


@pytest.fixture
def run_alone(capsys, monkeypatch):
    """Run the command, which must fail; return the line that it says."""
    monkeypatch.delenv("STEELYARD_CONFIG", raising=False)

    def run_alone(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["watch", *words])
        said = capsys.readouterr()
        assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
        return said.err

    return run_alone


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "nobody"], "nothing is watched under the name 'nobody'; known: "),
        (["clear", "nobody"], "nothing is watched under that name; known: "),
        (["check", BEST], "set watch.canaries.usd_per_day"),
        (["pin", BEST, "shaky"], "'shaky' is not one of"),
        (["clear"], "Missing argument 'MODEL'"),
    ],
    ids=["unknown", "unknown to clear", "no money", "no level", "no model"],
)
def test_what_cannot_be_is_one_line(world, run, words, says):
    gateway = world("warn")
    code, out, err = run(gateway, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_gateway_that_is_not_there_or_does_not_know_one_is_told_in_one_line(world, run):
    gateway = world("warn")
    for where, token, says in (
        (gateway, None, "--token, or STEELYARD_ADMIN_TOKEN"),
        (gateway, "x" * 32, "does not know this token"),
        ("http://127.0.0.1:9", TOKEN, "cannot be reached"),
        ("nonsense", TOKEN, "cannot be reached"),
        (f"{gateway.url}/v1", TOKEN, "is not there"),
    ):
        code, out, err = run(where, "list", token=token)
        assert (code, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1


@pytest.fixture
def logged(artifacts, tmp_path, capsys):
    """Serve with a log and no watch; return what a replay of it tells, and when it changed."""
    with StubThread() as stub:
        yield partial(serve_and_replay, stub, artifacts, tmp_path, capsys)


def serve_and_replay(stub, artifacts, folder, capsys, *words, told=False, n=200, changes=None):
    config = stub_config(
        folder,
        stub.origin,
        changes={
            "watch": {**WATCH, "mode": "off"},
            "store.data_dir": str(folder / "data"),
            **(changes or {}),
        },
    )
    with GatewayThread(config, artifacts=artifacts) as gateway, httpx.Client() as client:
        asking = World(gateway, stub.origin, client)
        for _ in range(LEARNED):
            asking.ask()
        asking.ask("sim-large")
        at = time.time()
        asking.disguise(WORST, told=told)
        for _ in range(n):
            asking.ask()
    capsys.readouterr()
    main(["watch", "replay", "--config", str(folder / "gateway.yaml"), *words])
    return at, capsys.readouterr().out


@pytest.mark.parametrize("texts", [(), ("--texts",)], ids=["without texts", "with texts"])
def test_a_log_tells_which_model_changed_and_when(logged, texts):
    at, printed = logged("--json", *texts, changes={"outcomes.contents": {"enabled": True}})
    told = json.loads(printed)
    (change,) = told["changes"]
    assert (change["model"], change["upstream"], change["level"]) == (BEST, "stub", "warning")
    assert change["why"][0] == "shorter"
    assert LEARNED < change["answers"] < LEARNED + 200
    assert change["time"] > at
    found = {each["model"]: each for each in told["data"]}
    assert set(found) == {BEST, "sim-large"}
    assert (found[BEST]["level"], found["sim-large"]["level"]) == ("warning", "ok")
    assert found[BEST]["answers"] == LEARNED + 200
    assert "refusal" in found[BEST]["evidence_by_signal"]


def test_a_log_tells_of_another_name_that_answers(logged):
    _, printed = logged(told=True, n=3)
    assert f"{BEST} at stub: another name answers after {LEARNED + 1} answers: {WORST}" in printed
    assert f"{LEARNED + 4:,} answers from 20" in printed


def test_a_log_tells_what_canaries_found(tmp_path, artifacts, capsys):
    """As the gateway that asked them saw it: of its answers nothing else is looked at."""
    with StubThread() as stub, httpx.Client(timeout=60) as client:
        config = stub_config(
            tmp_path,
            stub.origin,
            changes={
                "watch": {**WATCH, "mode": "warn", "canaries": FREE_ENOUGH},
                "store.data_dir": str(tmp_path / "data"),
            },
            env={"STEELYARD_ADMIN_TOKEN": TOKEN},
        )
        with GatewayThread(config, artifacts=artifacts) as gateway:
            asking = World(gateway, stub.origin, client)
            assert asking.order(action="check", model=BEST, n=CANARIES).status_code == 200
            at = time.time()
            asking.disguise(WORST)
            assert asking.canaries(60) == "warning"
            seen = asking.watched()
        capsys.readouterr()
        file = str(tmp_path / "gateway.yaml")
        main(["watch", "replay", "--config", file, "--json"])
        told = json.loads(capsys.readouterr().out)
        main(["watch", "replay", "--config", file])
        printed = capsys.readouterr().out
    (change,) = told["changes"]
    assert (change["model"], change["level"], change["why"]) == (BEST, "warning", ["canary"])
    assert change["time"] > at
    (found,) = told["data"]
    assert (found["level"], found["canaries"], told["answers"]) == ("warning", seen["canaries"], 0)
    assert found["evidence"] == pytest.approx(seen["evidence"])
    assert f"0 answers and {seen['canaries']} canaries from 20" in printed


def test_a_log_of_models_that_stayed_the_same_says_so(logged):
    assert "no model is seen to have changed" in logged(n=0)[1]


def test_without_a_log_it_is_one_line(run_alone, tmp_path, stub):
    stub_config(tmp_path, stub.origin)
    file = str(tmp_path / "gateway.yaml")
    assert "there is no decision log" in run_alone("replay", "--config", file)
    assert "holds no outcomes" in run_alone("replay", "--from", str(tmp_path))
    assert "does not exist" in run_alone("replay", "--from", str(tmp_path / "nowhere"))
    assert "cannot be read" in run_alone("replay", "--config", str(tmp_path / "nowhere.yaml"))
    assert "is no date" in run_alone("replay", "--since", "soon")


def test_where_nothing_is_watched_it_says_so(world, run):
    assert "the watch is off" in run(world("off"), "list")[1]
