"""Data files, prices, recipes and artifacts in any state: one line, exit code 2, no traceback."""

import json
import os
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.cli import main
from tests.support.outcomes import write_outcomes

RECIPE = """
strategy: carrot
options: {quality_head: {kind: linear}}
embedder: {kind: hashing, options: {dimensions: 16}}
blocks: [embedding, lexical]
calibration_folds: 2
"""
GOOD = {"query_id": "1", "prompt": "p", "model": "m", "quality": 0.5}
BATTLE = {"prompt": "p", "model_a": "a", "model_b": "b", "winner": "tie"}
DEEP = "[" * 200_000


def line(**changes):
    return json.dumps(GOOD | changes)


@pytest.fixture
def run(capsys):
    """Run a command in this process; return its exit code and what it said on standard error."""

    def run(*arguments):
        code = 0
        try:
            main([str(each) for each in arguments])
        except SystemExit as ended:
            code = ended.code
        return code, capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    write_outcomes(folder / "data.parquet", n=120)
    (folder / "recipe.yaml").write_text(RECIPE)
    main(
        [
            *("fit", "--data", str(folder / "data.parquet"), "--out", str(folder / "router")),
            *("--recipe", str(folder / "recipe.yaml")),
        ]
    )
    return folder


def refused(result, *words):
    code, said = result
    last = said.splitlines()[-1]
    assert code == 2, said
    assert last.startswith("steelyard: "), said
    assert "Traceback" not in said
    assert len(last) < 1500
    for word in words:
        assert word in last
    return last


LINES = {
    "empty": (b"", "no rows"),
    "blank": (b"\n\n \n", "no rows"),
    "no JSON": (b"hello\n", "line 1"),
    "cut": (line().encode()[:-3], "line 1"),
    "NUL": (b"\0\0\0\n", "line 1"),
    "a list": (b"[1]\n", "object"),
    "deep": (DEEP.encode(), "too deep"),
    "deep inside": (line().encode()[:-1] + b', "x": ' + DEEP.encode(), "too deep"),
    "UTF-16": (line().encode("utf-16"), "UTF-16"),
    "Latin-1": (line(prompt="ä").encode().replace(b"\\u00e4", b"\xe4"), "UTF-8"),
    "digits": (line(quality=10**400).encode(), "'quality'"),
    "more digits": (line().encode().replace(b"0.5", b"9" * 5000), "line 1"),
    "tokens": (line(output_tokens=10**400).encode(), "'output_tokens'"),
    "NaN": (line(quality=float("nan")).encode(), "'quality'"),
    "infinite": (line(cost_usd=float("inf")).encode(), "'cost_usd'"),
    "text": (line(quality="good").encode(), "'quality'"),
    "true tokens": (line(output_tokens=True).encode(), "'output_tokens'"),
    "no model": (line(model=None).encode(), "'model'"),
    "model of a list": (line(model=["m"]).encode(), "'model'"),
    "prompt of a number": (line(prompt=3).encode(), "'prompt'"),
    "id of an object": (line(query_id={}).encode(), "'query_id'"),
    "set of a list": (line(set=[[]]).encode(), "'set'"),
    "role of a list": (
        json.dumps(
            {"query_id": "1", "model": "m", "quality": 1, "messages": [{"role": [], "content": ""}]}
        ).encode(),
        "role",
    ),
    "second line": (f"{line()}\n{line(quality=2)}\n".encode(), "line 2"),
    "battle": (json.dumps(BATTLE | {"winner": []}).encode(), "winner"),
    "battle of one": (json.dumps(BATTLE | {"model_b": "a"}).encode(), "itself"),
    "battle with an id": (json.dumps(BATTLE | {"query_id": {}}).encode(), "query_id"),
    "deep battle": (json.dumps(BATTLE).encode() + b"\n" + DEEP.encode(), "line 2"),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_of_any_kind_are_refused_by_their_number(run, tmp_path, name):
    content, word = LINES[name]
    data = tmp_path / "data.jsonl"
    data.write_bytes(content)
    refused(run("fit", "--data", data, "--out", tmp_path / "out"), str(data), word)
    assert [each.name for each in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv", ""])
def test_what_is_no_file_is_refused_at_once(run, folder, tmp_path, suffix):
    data = tmp_path / f"data{suffix}"
    arguments = ("fit", "--data", data, "--out", tmp_path / "out")
    refused(run(*arguments), str(data))
    data.mkdir()
    refused(run(*arguments), str(data))
    data.rmdir()
    os.mkfifo(data)
    refused(run(*arguments), str(data))
    recipe = ("--data", folder / "data.parquet", "--out", tmp_path / "out", "--recipe", data)
    refused(run("fit", *recipe), str(data))


def test_a_byte_order_mark_and_half_a_surrogate_pair_are_no_harm(run, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows = [
        line(query_id=str(i), prompt=f"prompt {i} \ud83d", model=model, cost_usd=0.1)
        for i in range(60)
        for model in ("a", "b\ud800")
    ]
    (tmp_path / "data.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    code, said = run(
        *("fit", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "out"),
        *("--recipe", tmp_path / "recipe.yaml"),
    )
    assert code == 0, said


COMMANDS = {
    "fit": ("fit", "--out", "{out}", "--data"),
    "fit --aux": ("fit", "--out", "{out}", "--data", "{good}", "--aux"),
    "evaluate": ("evaluate", "--artifact", "{router}", "--data"),
    "evaluate --train": ("evaluate", "--artifact", "{router}", "--data", "{good}", "--train"),
    "gate": ("gate", "--artifact", "{router}", "--train", "{good}", "--data"),
    "calibrate": ("calibrate", "--artifact", "{router}", "--out", "{out}", "--data"),
    "route-batch": (
        *("route-batch", "--artifact", "{router}", "--cost-quality", "0"),
        *("--out", "{out}", "--data"),
    ),
    "convert": ("data", "convert", "--format", "jsonl", "--out", "{out}.parquet", "--in"),
    "convert lines": ("data", "convert", "--format", "jsonl", "--out", "{out}.jsonl", "--in"),
    "convert battles": (
        *("data", "convert", "--format", "routellm-battles"),
        *("--out", "{out}.jsonl", "--in"),
    ),
    "convert log": (
        *("data", "convert", "--format", "decision-log", "--out", "{out}.parquet", "--in"),
    ),
    "fine-tune": ("fine-tune", "--out", "{out}", "--data"),
    "prices": ("fit", "--out", "{out}", "--data", "{good}", "--prices"),
    "recipe": ("fit", "--out", "{out}", "--data", "{good}", "--recipe"),
    "data list": ("data", "list", "--datasets"),
    "data fetch": ("data", "fetch", "x", "--datasets"),
    "onboard": ("onboard", "sim-small", "--out", "{out}", "--yes", "--anchors"),
    "explain": ("explain", "hello", "--config"),
    "check-config": ("check-config",),
    "export": ("export", "--out", "{out}.jsonl", "--config"),
    "collect": ("collect", "--out", "{out}", "--once", "--config"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_damage_in_one_line(run, folder, tmp_path, name):
    places = {
        "out": tmp_path / "out",
        "good": folder / "data.parquet",
        "router": folder / "router",
    }
    arguments = [each.format(**places) for each in COMMANDS[name]]
    rng = random.Random(0)
    contents = [DEEP.encode(), b"\xff\xfe\x00", rng.randbytes(500), b""]
    if name == "recipe":
        contents.pop()  # an empty one is that of all defaults
    for i, content in enumerate(contents):
        for suffix in (".jsonl", ".parquet", ".json"):
            if content.startswith(b"[[") and suffix != ".json":
                continue  # as YAML it takes seconds to see that; lines have their own test
            data = tmp_path / f"damaged{i}{suffix}"
            data.write_bytes(content)
            refused(run(*arguments, data))
    assert [each for each in tmp_path.iterdir() if not each.name.startswith("damaged")] == []


def test_a_log_whose_entries_are_something_else_is_refused(run, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        json.dumps({"request_id": 3, "quality": 1, "model": "m", "prompt": "p", "usage": 3})
    )
    arguments = ("--format", "decision-log", "--in", log, "--out", tmp_path / "data.parquet")
    refused(run("data", "convert", *arguments), "line 1", "usage")


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 20)),
        "strategy: 2026-99-99",
        "strategy: [" + "[" * 1000,
        "? [1, 2]\n: 3",
        "!!python/object/apply:os.system ['true']",
        "seed: " + "9" * 400,
        "options: {1: 2}",
    ],
)
def test_documents_that_nobody_writes_are_refused(run, folder, tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    out = tmp_path / "out"
    for arguments in (
        ("fit", "--data", folder / "data.parquet", "--out", out, "--recipe", recipe),
        ("data", "list", "--datasets", recipe),
    ):
        refused(run(*arguments), str(recipe))


@pytest.mark.parametrize(
    "prices",
    [
        {"small": [10**400, 1]},
        {"small": [-1, 1]},
        {"small": ["free", 1]},
        {"small": [1]},
        {"small": {"input_usd_per_mtok": float("nan"), "output_usd_per_mtok": 1}},
        {"small": None},
        [],
        3,
    ],
)
def test_prices_that_are_none_are_refused(run, folder, tmp_path, prices):
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    arguments = ("--artifact", folder / "router", "--data", folder / "data.parquet")
    refused(run("evaluate", *arguments, "--prices", tmp_path / "prices.json"), "prices.json")


# --- parquet --------------------------------------------------------------------------------------


def wide(path, n=4, **columns):
    table = {
        "query_id": [str(i) for i in range(n)],
        "prompt": [f"prompt {i}" for i in range(n)],
        "q:m": [0.5] * n,
    }
    pq.write_table(pa.table(table | columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"q:m": [0.5, 2.0, 0.1, 0.2]}, "row 1"),
        ({"q:m": [0.5, float("nan"), -1.0, 0.2]}, "row 2"),
        ({"q:m": [[0.5]] * 4}, "numbers"),
        ({"q:m": ["high"] * 4}, "numbers"),
        ({"c:m": [float("inf")] * 4}, "finite"),
        ({"c:other": [1.0] * 4}, "c:other"),
        ({"prompt": [1, 2, 3, 4]}, "text"),
        ({"prompt": ["a", None, "b", "c"]}, "row 1"),
        ({"query_id": [[1]] * 4}, "query_id"),
        ({"messages": ["[" * 100_000] * 4}, "messages"),
        ({"messages": ['[{"role": {}}]'] * 4}, "role"),
        ({"q:m": [None] * 4}, "quality"),
    ],
)
def test_tables_with_what_they_cannot_hold_are_refused(run, tmp_path, columns, word):
    data = wide(tmp_path / "data.parquet", **columns)
    refused(run("fit", "--data", data, "--out", tmp_path / "out"), "data.parquet", word)


def test_text_that_is_no_unicode_is_refused(run, tmp_path):
    broken = pa.array([b"\xff\xfe"] * 4).cast(pa.string(), safe=False)
    data = wide(tmp_path / "data.parquet", prompt=broken)
    refused(run("fit", "--data", data, "--out", tmp_path / "out"), "data.parquet")


def test_millions_of_rows_in_a_small_file_are_refused_before_they_are_read(run, tmp_path):
    n = 20_000_000
    one = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), n), ["x"])
    names = {"query_id": one, "prompt": one, "q:m": pa.repeat(pa.scalar(0.5), n)}
    pq.write_table(pa.table(names), tmp_path / "data.parquet")
    assert (tmp_path / "data.parquet").stat().st_size < 2**20
    said = refused(
        run("fit", "--data", tmp_path / "data.parquet", "--out", tmp_path / "out"), "data.parquet"
    )
    assert "20000000 rows, more than 2000000" in said


def test_a_long_text_that_many_rows_share_is_refused_without_copies(run, tmp_path):
    n = 100_000
    long = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), n), ["x" * 2**20])
    data = wide(tmp_path / "data.parquet", n, prompt=long)
    said = refused(run("fit", "--data", data, "--out", tmp_path / "out"), "data.parquet")
    assert "characters" in said


def test_damaged_parquet_is_refused_wherever_it_is_damaged(run, tmp_path):
    good = wide(tmp_path / "good.parquet").read_bytes()
    rng = random.Random(3)
    data = tmp_path / "data.parquet"
    for _ in range(30):
        damaged = bytearray(good)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        data.write_bytes(bytes(damaged[: rng.choice((len(damaged), len(damaged) - 9))]))
        refused(run("fit", "--data", data, "--out", tmp_path / "out"))


# --- artifacts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "weights.npz"])
def test_commands_and_gateways_refuse_a_damaged_artifact(run, folder, tmp_path, name):
    router = tmp_path / "router"
    router.mkdir()
    for each in ("manifest.json", "weights.npz"):
        content = (folder / "router" / each).read_bytes()
        (router / each).write_bytes(content[: len(content) // 2] if each == name else content)
    data = ("--data", folder / "data.parquet")
    out = ("--out", tmp_path / "out")
    for arguments in (
        ("evaluate", "--artifact", router, *data),
        ("gate", "--artifact", router, *data, "--train", folder / "data.parquet"),
        ("calibrate", "--artifact", router, *data, *out),
        ("route-batch", "--artifact", router, *data, *out, "--cost-quality", "0"),
        ("onboard", "sim-small", "--artifact", router, *out, "--yes"),
    ):
        refused(run(*arguments), str(router))


def test_an_artifact_is_not_replaced_unasked(run, folder):
    before = {each.name: each.read_bytes() for each in (folder / "router").iterdir()}
    data = ("--data", folder / "data.parquet", "--out", folder / "router")
    refused(run("fit", *data, "--recipe", folder / "recipe.yaml"), "--overwrite")
    refused(run("calibrate", "--artifact", folder / "router", *data), "--overwrite")
    refused(run("onboard", "sim-small", "--yes", *data[2:]), "--overwrite")
    assert {each.name: each.read_bytes() for each in (folder / "router").iterdir()} == before
    code, said = run("fit", *data, "--recipe", folder / "recipe.yaml", "--overwrite")
    assert code == 0, said
    assert {each.name for each in (folder / "router").iterdir()} == set(before)


# --- what is not installed ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fit", "evaluate", "route-batch", "convert", "fit --aux"])
def test_a_package_that_is_missing_is_named_with_its_extra(
    run, folder, tmp_path, monkeypatch, name
):
    places = {"out": tmp_path / "out", "good": folder / "data.parquet", "router": folder / "router"}
    lines = tmp_path / "data.jsonl"
    lines.write_text("\n".join(line(query_id=str(i)) for i in range(3)))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arguments = [each.format(**places) for each in COMMANDS[name]]
    data = lines if name == "convert" else folder / "data.parquet"
    said = refused(run(*arguments, data), "pyarrow", "pip install 'steelyard[train]'")
    assert "is not installed" in said
    assert [each.name for each in tmp_path.iterdir()] == ["data.jsonl"]


def test_collect_takes_nothing_out_of_redis_without_its_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(run("collect", "--out", tmp_path / "log", "--once"), "steelyard[train]")
