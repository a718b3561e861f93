"""Adapters of routing benchmarks on small made-up files with their publishers' keys."""

import json

import numpy as np
import pytest

from routers.data.convert import convert
from routers.data.dataset import read_outcomes
from routers.errors import DataError


def lines(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_llmrouterbench_is_a_tree_of_results(tmp_path):
    for model, score, times in (("small", 0.0, ("20260101", "20260102")), ("large", 1.0, ("1",))):
        for time in times:
            folder = tmp_path / "bench" / "aime" / "test" / model
            folder.mkdir(parents=True, exist_ok=True)
            record = {"index": 1, "origin_query": "2+2?", "prompt": "Question: 2+2?"}
            record |= {"score": score, "prompt_tokens": 15, "completion_tokens": 5, "cost": 0.001}
            stale = {**record, "score": 0.5}
            content = {"performance": 1, "records": [stale if time == "20260101" else record]}
            (folder / f"{time}.json").write_text(json.dumps(content))
    convert("llmrouterbench", tmp_path / "bench", tmp_path / "out.parquet")
    table = read_outcomes([tmp_path / "out.parquet"])
    assert dict(zip(table.models, table.quality[0], strict=True)) == {"small": 0, "large": 1}
    assert table.groups == ("llmrouterbench/aime",)
    assert table.cost_usd.tolist() == [[0.001, 0.001]]
    one = tmp_path / "bench" / "aime" / "test" / "large" / "1.json"
    assert convert("llmrouterbench", one, tmp_path / "one.jsonl").models == ("large",)
    with pytest.raises(DataError, match="--format llmrouterbench"):
        read_outcomes([lines(tmp_path / "r.jsonl", {"records": [], "performance": 1})])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no result file"):
        convert("llmrouterbench", tmp_path / "empty", tmp_path / "x.jsonl")


ARENA = {
    "global_index": "ArcMMLU_659",
    "question": "Which one?",
    "llm_selected": "gemini",
    "token_usage": {"input_tokens": 104, "output_tokens": 49},
    "evaluation_result": {"score": 1.0, "inference_cost": 3e-05},
}


def test_routerarena_results_of_models_are_joined_by_prompt(tmp_path):
    rows = [ARENA, {**ARENA, "llm_selected": "haiku", "evaluation_result": {"score": 0.0}}]
    rows.append({**ARENA, "global_index": "AIME_1", "evaluation_result": None})
    convert("routerarena", lines(tmp_path / "r.jsonl", *rows), tmp_path / "out.parquet")
    table = read_outcomes([tmp_path / "out.parquet"])
    assert table.quality.tolist() == [[1, 0]]
    assert table.groups == ("routerarena/ArcMMLU",)
    with pytest.raises(DataError, match="no line has an evaluation_result"):
        convert("routerarena", lines(tmp_path / "r.jsonl", rows[-1]), tmp_path / "x.jsonl")


def test_coderouterbench_takes_prompts_from_the_tasks_beside_it(tmp_path):
    results = tmp_path / "ood176_results_long.csv"
    results.write_text(
        "task_id,bench,dimension,model,resolved,in_tok,out_tok,cost_usd\n"
        "t1,swe,debug,glm-5,1,100,50,0.5\nt1,swe,debug,gpt-5.4,0,90,40,0.25\n"
    )
    tasks = lines(tmp_path / "ood176_tasks.jsonl", {"task_id": "t1", "prompt": "Fix it."})
    convert("coderouterbench", results, tmp_path / "out.parquet")
    table = read_outcomes([tmp_path / "out.parquet"])
    assert table.models == ("glm-5", "gpt-5.4")
    assert table.quality.tolist() == [[1, 0]]
    assert table.cost_usd.tolist() == [[0.5, 0.25]]
    assert table.conversations[0].messages[0].text == "Fix it."
    lines(tasks, {"task_id": "t1", "dimension": "debug"})
    with pytest.raises(DataError, match="has no prompt of the task 't1'"):
        convert("coderouterbench", results, tmp_path / "x.jsonl")


def test_twinrouterbench_tiers_are_models(tmp_path):
    row = {"id": "s-1", "benchmark": "swebench", "target_tier_id": 2, "step_index": 1}
    row["messages"] = [{"role": "user", "content": "Go on."}, {"role": "tool", "content": "ok"}]
    convert("twinrouterbench", lines(tmp_path / "q.jsonl", row), tmp_path / "out.parquet")
    table = read_outcomes([tmp_path / "out.parquet"])
    assert table.models == ("low", "mid", "mid_high", "high")
    assert table.quality.tolist() == [[0, 0, 1, 1]]
    assert len(table.conversations[0].messages) == 2
    bad = lines(tmp_path / "q.jsonl", {**row, "target_tier_id": 4})
    with pytest.raises(DataError, match="'target_tier_id' must be 0 to 3, got 4"):
        convert("twinrouterbench", bad, tmp_path / "x.jsonl")


def test_xroutebench_queries_are_texts_or_chats(tmp_path):
    row = {"task_name": "mmlu", "query": "2+2?", "model_name": "a", "performance": 1.0}
    row |= {"task_id": 7, "input_tokens": 10, "output_tokens": 3, "response": "4"}
    chat = json.dumps([{"role": "user", "content": "Hi"}])
    rows = [row, {**row, "model_name": "b", "performance": 0.5}]
    rows.append({**row, "query": chat, "task_id": None, "performance": None})
    convert("xroutebench", lines(tmp_path / "x.jsonl", *rows), tmp_path / "out.parquet")
    table = read_outcomes([tmp_path / "out.parquet"])
    assert table.query_ids[0] == "mmlu-7"
    np.testing.assert_array_equal(table.quality, [[1, 0.5], [np.nan, np.nan]])
    assert table.conversations[1].messages[0].text == "Hi"
    bad = lines(tmp_path / "x.jsonl", {**row, "model_name": None})
    with pytest.raises(DataError, match="'model_name' must be a text"):
        convert("xroutebench", bad, tmp_path / "y.jsonl")
