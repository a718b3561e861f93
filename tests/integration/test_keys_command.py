"""`steelyard keys` beside a running gateway, and `serve` that wants to know who may ask."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time

import httpx
import pytest

from app.access.secrets import digest_of
from app.cli import main
from tests.support.gateway import (
    CONFIGS,
    REPOSITORY,
    GatewayThread,
    read_yaml,
    stub_config,
    write_yaml,
)

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
        deadline = time.monotonic() + 60
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
    run("create", "first", "--budget", "2.5/day", "--budget", "20/month", "--model", "sim-nano")
    run("create", "second" * 20, "--expires-in", "30d", "--requests-per-minute", "1500")
    run("update", listed(run)[1]["key_id"], "--disable")
    code, out, err = run("list")
    header, first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split() == [
        *("key", "name", "team", "status", "ver", "limits", "spent", "models", "expires")
    ]
    assert first.split()[1:] == [
        *("first", "-", "active", "1", "-", "0/2.5", "day+1", "sim-nano", "never")
    ]
    assert second.split()[2:8] == ["-", "disabled", "2", "1.5kr", "-", "all"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", second.split()[-1])
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create",), "NAME"),
        (("create", ""), "name"),
        (("create", "x", "--expires-in", "soon"), "soon"),
        (("create", "x", "--expires-in", "-1d"), "-1d"),
        (("create", "x", "--budget", "lots"), "lots"),
        (("create", "x", "--budget", "5/year"), "20/month (or /week, or /day)"),
        (("create", "x", "--budget", "nan/day"), "budgets.0.usd"),
        (("create", "x", "--model", "gpt-9"), "gpt-9"),
        (("create", "x", "--policy", "none-such"), "none-such"),
        (("create", "x", "--team", "none-such"), "none-such"),
        (("create", "x", "--metadata", "a"), "NAME=VALUE"),
        (("create", "x", "--cost-quality", "2"), "cost_quality"),
        (("create", "x", "--requests-per-minute", "0"), "requests_per_minute"),
        (("create", "x", "--digest", "00"), "--digest"),
        (("create", "x", "--models", "sim-nano,"), "empty name"),
        (("create", "x", "--on-low", "degrade"), "--budget"),
        (("create", "x", "--budget", "1/day", "--budget", "2/day"), "same period"),
        (("revoke", "key-000000000000"), "no key"),
        (("show", "key-000000000000"), "no key"),
        (("update", "key-000000000000", "--owner", "x"), "no key"),
        (("update",), "KEY_ID"),
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--help"),
        (("--team", "none-such"), "none-such"),
        (("--models", "gpt-9"), "gpt-9"),
        (("--name", ""), "name"),
        (("--cost-quality", "2"), "cost_quality"),
        (("--cost-quality", "0.9", "--most-cost-quality", "0.5"), "cost_quality is outside"),
        (("--budget", "1/day", "--budget", "2/day"), "same period"),
        (("--budget", "1/year"), "20/month"),
        (("--budget", "5"), "20/month"),
        (("--on-low", "degrade"), "--budget"),
        (("--requests-per-minute", "0"), "requests_per_minute"),
        (("--clear", "name"), "name"),
        (("--clear", "owner", "--owner", "x"), "--clear owner"),
        (("--clear", "limits", "--requests-per-minute", "5"), "--clear limits"),
        (("--expires-in", "soon"), "soon"),
        (("--if-version", "0", "--owner", "x"), "if-version"),
    ],
)
def test_a_change_that_makes_no_sense_is_one_line_and_changes_nothing(run, options, words):
    run("create", "x")
    (key,) = listed(run)
    code, out, err = run("update", key["key_id"], *options)
    assert (code, out) == (2, "")
    assert err.startswith("steelyard: ")
    assert err.count("\n") == 1
    assert words in err
    assert listed(run) == [key]


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
    (file,) = (loaded.path.parent / "data").glob("steelyard.sqlite3")
    return file


def test_a_configuration_that_keeps_no_keys_says_what_to_write(run):
    code, _, err = run("create", "x", "--config", CONFIGS / "gateway.yaml")
    assert code == 2
    assert "store: {data_dir" in err


def test_asking_for_keys_without_a_place_for_them_is_refused(tmp_path, stub, capsys):
    config = stub_config(tmp_path, stub.origin).path
    document = {**read_yaml(config), "auth": {"mode": "keys"}}
    write_yaml(config, document)
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


def test_models_and_policies_may_stand_in_lists_with_commas(run):
    key = json.loads(run("create", "x", "--models", "sim-nano, sim-small", "--json")[1])
    assert key["models"] == ["sim-nano", "sim-small"]
    run("update", key["key_id"], "--model", "sim-nano", "--policies", "economy,default")
    (key,) = listed(run)
    assert (key["models"], key["policies"]) == (["sim-nano"], ["default", "economy"])


def test_a_second_key_of_one_name_is_made_with_a_note(run):
    assert "another key" not in run("create", "same")[2]
    (first,) = listed(run)
    code, out, err = run("create", "same")
    assert code == 0
    assert out.startswith("sk-sy-")
    assert f"another key of the name 'same': {first['key_id']}" in err
    run("create", "other")
    other = listed(run)[-1]["key_id"]
    assert "another key of the name 'same'" in run("update", other, "--name", "same")[2]


def test_what_is_said_is_changed_and_told_and_the_rest_stays(run):
    run("create", "x", "--owner", "ops", "--budget", "1/day", "--budget", "20/month")
    (key,) = listed(run)
    code, out, err = run(
        *("update", key["key_id"], "--budget", "50/month", "--requests-per-minute", "60"),
        *("--expires-in", "30d", "--metadata", "a=1", "--cache"),
    )
    assert (code, out) == (0, "")
    assert "budgets: 1/day, 20/month -> 1/day, 50/month" in err
    (after,) = listed(run)
    changed = {"budgets", "limits", "expires_at", "metadata", "cache", "version", "spending"}
    assert {name for name in key if key[name] != after[name]} == changed
    assert after["version"] == 2
    run(
        *("update", key["key_id"], "--clear", "budgets", "--clear", "requests-per-minute"),
        *("--clear", "owner", "--expires-in", "never", "--clear", "metadata", "--no-cache"),
    )
    (cleared,) = listed(run)
    assert cleared == {**key, "owner": "", "budgets": [], "version": 3, "spending": []}


def test_a_raised_budget_goes_on_degrading(run):
    run("create", "x", "--budget", "1/day", "--budget", "20/month", "--on-low", "degrade")
    (key,) = listed(run)
    run("update", key["key_id"], "--budget", "50/month")
    (key,) = listed(run)
    assert [(each["usd"], each["on_low"]) for each in key["budgets"]] == [
        (1.0, "degrade"),
        (50.0, "degrade"),
    ]
    run("update", key["key_id"], "--on-low", "reject")
    (key,) = listed(run)
    assert [each["on_low"] for each in key["budgets"]] == ["reject", "reject"]


def test_a_running_gateway_obeys_a_change(run, loaded, artifacts):
    with GatewayThread(loaded, artifacts=artifacts) as gateway:
        secret = run("create", "live")[1].strip()
        assert models(gateway, secret).status_code == 200
        (key,) = listed(run)
        for option, status in (("--disable", 401), ("--enable", 200)):
            run("update", key["key_id"], option)
            deadline = time.monotonic() + 60
            while models(gateway, secret).status_code != status:
                assert time.monotonic() < deadline


def test_a_change_may_be_meant_for_one_version_only(run):
    run("create", "x")
    (key,) = listed(run)
    assert run("update", key["key_id"], "--owner", "a", "--if-version", "1")[0] == 0
    for arguments in (("update", "--owner", "b"), ("revoke",), ("rotate",)):
        command, *options = arguments
        code, out, err = run(command, key["key_id"], *options, "--if-version", "1")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "version 2" in err
    assert listed(run)[0]["owner"] == "a"


def test_one_key_is_told_in_full(run):
    run("create", "x", "--budget", "20/month", "--metadata", "a=1", "--owner", "ops")
    (key,) = listed(run)
    code, out, _ = run("show", key["key_id"])
    assert code == 0
    for words in (key["key_id"], "ops", "20/month", "$0.0000 of $20.00", "a=1", "never"):
        assert words in out
    assert json.loads(run("show", key["key_id"], "--json")[1]) == key


def test_who_changed_a_key_is_told(run):
    run("create", "x")
    (key,) = listed(run)
    run("update", key["key_id"], "--owner", "ops")
    run("rotate", key["key_id"])
    run("revoke", key["key_id"])
    entries = json.loads(run("audit", "--json")[1])
    assert [each["done"] for each in entries] == ["revoked", "rotated", "updated", "created"]
    assert {each["by"].split(" (")[0] for each in entries} == {"command line"}
    assert entries[2]["changes"] == {"owner": ["", "ops"]}
    out = run("audit", key["key_id"], "--limit", "3")[1]
    assert "owner: - -> ops" in out
    assert out.count(key["key_id"]) == 3
    assert run("audit", "key-000000000000")[1] == ""


def test_the_process_says_what_is_wrong_in_one_line(loaded):
    run = subprocess.run(
        [sys.executable, "-m", "app", "keys", "update", "key-000000000000", "--owner", "x"],
        cwd=REPOSITORY,
        env={**os.environ, "STEELYARD_CONFIG": str(loaded.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "steelyard: there is no key of this id; ids are like key-3f6c0a91b2d4 "
        "(`steelyard keys list`)\n"
    )
