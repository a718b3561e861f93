"""`steelyard keys` beside a running gateway, and `serve` that wants to know who may ask."""

import contextlib
import json
import sqlite3
import time

import httpx
import pytest
import yaml

from app.access.secrets import digest_of
from app.cli import main
from tests.support.gateway import CONFIGS, GatewayThread, stub_config

CHANGES = {"auth": {"mode": "keys", "fresh_s": 0.05}, "store": {"data_dir": "data"}}


@pytest.fixture
def loaded(tmp_path, stub):
    return stub_config(tmp_path, stub.origin, changes=CHANGES)


@pytest.fixture
def run(capsys, loaded, monkeypatch):
    """Run `steelyard keys` in this process; return its exit code, output and errors."""
    monkeypatch.delenv("STEELYARD_ADMIN_TOKEN", raising=False)
    monkeypatch.setenv("STEELYARD_CONFIG", str(loaded.path))

    def run(*arguments):
        code = 0
        try:
            main(["keys", *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return run


def models(gateway, secret):
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.get(f"{gateway.openai_url}/models", headers=headers, trust_env=False)


def listed(run):
    return json.loads(run("list", "--json")[1])


def test_a_new_keys_secret_stands_alone_on_standard_output(run):
    code, out, err = run("create", "search", "--owner", "ops", "--expires-in", "90d")
    assert code == 0
    secret = out.removesuffix("\n")
    assert secret.startswith("sk-sy-")
    assert len(secret) == 49
    assert secret not in err
    (key,) = listed(run)
    assert key["key_id"] in err
    assert key["name"] == "search"
    assert key["expires_at"] - key["created_at"] == 90 * 86_400


def test_all_options_reach_the_key(run):
    code, out, _ = run(
        *("create", "all", "--model", "sim-nano", "--model", "sim-small", "--policy", "economy"),
        *("--cost-quality", "0.3", "--least-cost-quality", "0.1", "--most-cost-quality", "0.6"),
        *("--requests-per-minute", "60", "--tokens-per-minute", "1000"),
        *("--concurrent-requests", "4", "--budget", "1.5/day", "--budget", "20/month"),
        *("--on-low", "degrade", "--cache", "--metadata", "cost-centre=7", "--json"),
    )
    assert code == 0
    key = json.loads(out)
    assert key.pop("secret").startswith("sk-sy-")
    assert listed(run) == [key]
    assert key["models"] == ["sim-nano", "sim-small"]
    assert key["policies"] == ["economy"]
    knob = (key["least_cost_quality"], key["cost_quality"], key["most_cost_quality"])
    assert knob == (0.1, 0.3, 0.6)
    assert key["limits"] == {
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "concurrent_requests": 4,
    }
    assert [(each["usd"], each["period"], each["on_low"]) for each in key["budgets"]] == [
        (1.5, "day", "degrade"),
        (20.0, "month", "degrade"),
    ]
    assert key["cache"] is True
    assert key["metadata"] == {"cost-centre": "7"}


def test_a_running_gateway_obeys_the_console(run, loaded, artifacts):
    with GatewayThread(loaded, artifacts=artifacts) as gateway:
        assert models(gateway, "sk-sy-" + "A" * 43).status_code == 401
        secret = run("create", "live")[1].strip()
        assert models(gateway, secret).status_code == 200
        (key,) = listed(run)
        code, out, err = run("rotate", key["key_id"], "--grace", "1h")
        assert code == 0
        assert "the old secret works until" in err
        new = out.strip()
        assert [models(gateway, each).status_code for each in (secret, new)] == [200, 200]
        code, out, err = run("revoke", key["key_id"])
        assert (code, out) == (0, "")
        assert "is revoked" in err
        deadline = time.monotonic() + 10
        while {models(gateway, each).status_code for each in (secret, new)} != {401}:
            assert time.monotonic() < deadline
    assert [each["status"] for each in listed(run)] == ["revoked"]


def test_neither_secret_nor_digest_of_a_key_is_listed_or_in_the_database(run, loaded):
    secret = run("create", "canary")[1].strip()
    (key,) = listed(run)
    new = run("rotate", key["key_id"], "--json")
    new_secret = json.loads(new[1])["secret"]
    texts = [*run("list")[1:], *run("list", "--json")[1:], *run("revoke", key["key_id"])[1:]]
    for each in (secret, new_secret):
        assert not [text for text in texts if each in text or digest_of(each.encode()) in text]
        files = [file for file in (loaded.path.parent / "data").rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert each.removeprefix("sk-sy-").encode() not in file.read_bytes()


def test_the_list_is_for_people_unless_json_is_asked_for(run):
    run("create", "first", "--owner", "ops")
    run("create", "second", "--expires-in", "30d")
    code, out, err = run("list")
    header, first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split() == ["key", "status", "created", "expires", "owner", "name"]
    assert first.split()[-2:] == ["ops", "first"]
    assert "never" in first
    assert second.endswith("second")
    assert "never" not in second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create",), "NAME"),
        (("create", ""), "name"),
        (("create", "x", "--expires-in", "soon"), "soon"),
        (("create", "x", "--expires-in", "-1d"), "-1d"),
        (("create", "x", "--budget", "lots"), "lots"),
        (("create", "x", "--budget", "5/year"), "budgets.0.period"),
        (("create", "x", "--budget", "nan/day"), "budgets.0.usd"),
        (("create", "x", "--model", "gpt-9"), "gpt-9"),
        (("create", "x", "--policy", "none-such"), "none-such"),
        (("create", "x", "--team", "none-such"), "none-such"),
        (("create", "x", "--metadata", "a"), "NAME=VALUE"),
        (("create", "x", "--cost-quality", "2"), "cost_quality"),
        (("create", "x", "--requests-per-minute", "0"), "requests_per_minute"),
        (("create", "x", "--digest", "00"), "--digest"),
        (("revoke", "key-000000000000"), "no key"),
        (("rotate", "key-000000000000"), "no key"),
        (("rotate", "key-000000000000", "--grace", "1y"), "1y"),
        (("list", "--config", "none-such.yaml"), "none-such.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(run, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("steelyard: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_revoked_key_is_not_rotated(run):
    run("create", "x")
    (key,) = listed(run)
    run("revoke", key["key_id"])
    code, _, err = run("rotate", key["key_id"])
    assert code == 2
    assert "revoked" in err


def test_a_record_of_another_release_is_one_line(run, loaded):
    run("create", "x")
    with contextlib.closing(sqlite3.connect(database(loaded))) as connection, connection:
        connection.execute("UPDATE keys SET record = ?", (b'{"from": "the future"}',))
    code, out, err = run("list")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "cannot be read" in err


def database(loaded):
    (file,) = (loaded.path.parent / "data").glob("*.sqlite3")
    return file


def test_a_configuration_that_keeps_no_keys_says_what_to_write(run):
    code, _, err = run("create", "x", "--config", CONFIGS / "gateway.yaml")
    assert code == 2
    assert "store: {data_dir" in err


def test_asking_for_keys_without_a_place_for_them_is_refused(tmp_path, stub, capsys):
    config = stub_config(tmp_path, stub.origin).path
    document = {**yaml.safe_load(config.read_text()), "auth": {"mode": "keys"}}
    config.write_text(yaml.safe_dump(document))
    with pytest.raises(SystemExit) as caught:
        main(["check-config", str(config)])
    assert caught.value.code == 2
    assert "store.data_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.0.2.1", "gateway.example"],  # noqa: S104  (refused)
)
def test_serve_refuses_other_machines_unless_the_file_says_who_may_ask(
    tmp_path, stub, capsys, host
):
    config = stub_config(tmp_path, stub.origin).path
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--config", str(config), "--host", host, "--port", "0"])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "auth: {mode: keys}" in err
    assert "auth: {mode: none}" in err
