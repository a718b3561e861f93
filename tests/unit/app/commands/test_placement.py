import itertools
import json
import random

import pytest

from app.cli import main
from app.commands.placement import Asked, Pool, interrupted, propose, replayed, solve
from app.gateway.deployments.machines import HostedModel, MachineRule

DAY_S = 86_400.0


def pool(name="box", *, memory_gb=24.0, models=None, **rule):
    spec = models or {"a": 8.0, "b": 8.0, "c": 16.0}
    return Pool(
        name=name,
        rule=MachineRule(memory_gb=memory_gb, **rule),
        models={each: HostedModel(memory_gb=size, load_s=size) for each, size in spec.items()},
        usd_per_hour=3.6,
    )


def asked(names, *, step_s=10.0):
    return [Asked(at=step_s * number, model_id=name) for number, name in enumerate(names)]


def best_by_enumeration(pools, n_loads):
    """Return the most load seconds that keeping models can save, by trying every placement."""
    names = sorted({name for each in pools for name in each.models})
    ways = [[None, *(each for each in pools if name in each.models)] for name in names]
    best = 0.0
    for way in itertools.product(*ways):
        kept = {name: at for name, at in zip(names, way, strict=True) if at is not None}

        def fits(at, more_gb=0.0, more=0, kept=kept):
            mine = [name for name, where in kept.items() if where is at]
            used_gb = sum(at.models[name].memory_gb for name in mine) + more_gb
            most = at.rule.max_models
            return used_gb <= at.rule.memory_gb + 1e-9 and (
                most is None or len(mine) + more <= most
            )

        loadable = all(
            any(fits(at, at.models[name].memory_gb, 1) for at in pools if name in at.models)
            for name in names
            if name not in kept
        )
        if loadable and all(fits(at) for at in pools):
            saved = sum(n_loads[name] * at.models[name].load_s for name, at in kept.items())
            best = max(best, saved)
    return best


@pytest.mark.parametrize("seed", range(60))
def test_it_is_the_best_of_all_placements(seed):
    rng = random.Random(seed)
    names = [f"m{number}" for number in range(rng.randint(2, 5))]
    pools = []
    for number in range(rng.randint(1, 2)):
        mine = names if number == 0 else rng.sample(names, rng.randint(1, len(names)))
        models = {name: rng.choice([4.0, 8.0, 13.5, 20.0]) for name in mine}
        pools.append(
            pool(
                f"p{number}",
                models=models,
                memory_gb=max(models.values()) + rng.choice([0.0, 8.0, 20.0, 30.0]),
                max_models=rng.choice([None, None, 2, 3]),
            )
        )
    n_loads = {name: rng.choice([0, 1, 3, 10, 40]) for name in names}
    kept = solve(pools, n_loads)
    by_name = {each.name: each for each in pools}
    saved = sum(n_loads[name] * by_name[at].models[name].load_s for name, at in kept.items())
    assert saved == pytest.approx(best_by_enumeration(pools, n_loads))


def test_loads_are_counted_where_another_model_came_in_between():
    assert interrupted(asked("aabacc"), [pool()]) == {"a": 2, "b": 1, "c": 1}
    apart = [pool("x", models={"a": 8.0}), pool("y", models={"b": 8.0})]
    assert interrupted(asked("abab"), apart) == {"a": 1, "b": 1}, "they share no machine"
    assert interrupted(asked("aaa"), [pool(keep_alive_s=5.0)]) == {"a": 3}


def test_what_is_not_kept_can_still_be_loaded():
    # c saves the most, but beside it neither a nor b would ever fit with each other's room kept.
    tight = pool(memory_gb=16.0)
    assert solve([tight], {"a": 5, "b": 4, "c": 100}) == {}, "with c kept, nothing else could load"
    assert solve([pool()], {"a": 5, "b": 4, "c": 100}) == {"c": "box"}
    assert solve([pool()], {"a": 50, "b": 4, "c": 1}) == {"a": "box"}


def test_a_steady_model_is_kept_from_those_that_come_and_go():
    # Three that take turns in room for two: the least recently used is always the next one.
    rotating = asked("abcabcabcabcabc")
    even = pool(memory_gb=16.0, models={"a": 8.0, "b": 8.0, "c": 8.0})
    found = propose([even], rotating)
    assert found.today_s == 15 * 8.0
    assert found.proposed_s == 8.0 + 10 * 8.0
    kept = [each for each in found.models if each.pool]
    assert [(each.n_requests, each.load_s) for each in kept] == [(5, 8.0)]
    out = [each for each in found.models if not each.pool]
    assert all(each.usd == pytest.approx(3.6 / 3600 * each.load_s) for each in out)
    assert {each.lacks_gb for each in out} == {8.0}


def test_replaying_without_any_kept_is_what_the_machine_does_today():
    loads = replayed([pool()], asked("abcab"), {})
    assert loads.seconds == {"a": 16.0, "b": 16.0, "c": 16.0}


CONFIG = """
catalogue: {catalogue}
upstreams:
  box:
    base_url: http://127.0.0.1:11434/v1
    residency: {{memory_gb: 16, usd_per_hour: 3.6}}
models:
  a: {{upstream: box, spec: llama-3.1-8b-instruct, memory_gb: 8, load_s: 4}}
  b: {{upstream: box, spec: llama-3.1-8b-instruct, memory_gb: 8, load_s: 4}}
  c: {{upstream: box, spec: llama-3.1-8b-instruct, memory_gb: 8, load_s: 4}}
"""


@pytest.fixture
def files(tmp_path):
    from tests.support.gateway import CONFIGS

    config = tmp_path / "gateway.yaml"
    config.write_text(CONFIG.format(catalogue=CONFIGS / "models.yaml"))
    log = tmp_path / "log.jsonl"
    rows = [{"time": 10.0 * n, "model": "abc"[n % 3], "query_id": str(n)} for n in range(30)]
    rows.append({"time": 400.0, "model": "a", "role": "draft"})
    log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return {"--log": log, "--pools": config}


@pytest.fixture
def run(files, capsys):
    """Return what runs the command: its exit code, and what it said."""

    def run(*more):
        arguments = [str(part) for pair in files.items() for part in pair]
        try:
            main(["place", *arguments, *more])
            code = 0
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_the_command_says_what_to_keep_what_stays_out_and_what_that_costs(run):
    code, said = run()
    assert code == 0, said
    assert "is not kept: that would save up to 40 s of loading" in said
    assert "With 8 GB more it could stay, too." in said
    assert "120 s of loading where the least recently used leaves, 84 s with these" in said
    told = json.loads(run("--json")[1])
    assert (told["today_s"], told["proposed_s"]) == (120.0, 84.0)
    assert sum(each["pool"] == "box" for each in told["models"]) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"log": "log.parquet"}, "only a .jsonl"),
        ({"log": "none.jsonl"}, "cannot be read"),
        ({"log": "empty.jsonl"}, "no row has `time` and `model`"),
        ({"log": "other.jsonl"}, "no request for a model that is loaded on demand: a, b, c"),
        ({"config": "    residency: {memory_gb: 16, usd_per_hour: 3.6}\n"}, "has no `residency`"),
    ],
    ids=["parquet", "missing", "empty", "other models", "no machine"],
)
def test_what_cannot_be_done_is_said_in_one_line(files, run, tmp_path, changes, says):
    (tmp_path / "empty.jsonl").write_text("{}\n")
    (tmp_path / "other.jsonl").write_text('{"time": 1, "model": "gpt"}\n')
    if "config" in changes:
        text = files["--pools"].read_text()
        assert changes["config"] in text
        files["--pools"].write_text(text.replace(changes["config"], ""))
    else:
        files["--log"] = tmp_path / changes["log"]
    code, said = run()
    assert code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1
