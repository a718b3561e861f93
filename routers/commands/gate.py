"""`steelyard gate`: is an artifact worth its trouble? Passed, refused, or not decided."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from routers.commands.base import (
    FILE,
    FiniteRange,
    draws_option,
    encoder,
    files,
    progress,
    seed_option,
    todays_prices,
)
from routers.files import printable

if TYPE_CHECKING:
    from routers.gate.check import Check
    from routers.gate.trial import Trial

_VERDICTS = {"passed": "passes", "refused": "is REFUSED", "not decided": "is NOT DECIDED"}
_MARKS = {"passed": "pass", "refused": "FAIL", "not decided": "open"}
_EXIT_CODES = {"passed": 0, "refused": 1, "not decided": 3}
"""2 is left to wrong usage."""


@click.command("gate")
@click.option("--artifact", type=FILE, required=True, help="Folder that `fit` wrote.")
@click.option(
    "--train",
    metavar="FILE[,FILE…]",
    callback=files,
    required=True,
    help="Outcomes of the training: its recipe and the baselines are fitted on them, in folds.",
)
@click.option(
    "--data",
    metavar="FILE[,FILE…]",
    callback=files,
    help="Further outcomes, which the artifact was not trained on: .parquet, .csv or .jsonl.",
)
@click.option(
    "--answers",
    metavar="FILE[,FILE…]",
    callback=files,
    help="What the models answered, where the artifact has a workflow; else the answers there.",
)
@todays_prices
@click.option(
    "--max-p50-ms",
    type=FiniteRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Limit of the median time to predict one request on this machine.",
)
@click.option(
    "--max-size-mb",
    type=FiniteRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    help="Limit of the artifact's files together.",
)
@click.option(
    "--splits",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Times to fit on other folds; their mean depends less on how rows fell into folds.",
)
@click.option(
    "--suite",
    type=click.Choice(["robustness"]),
    help="Put it through the robustness suite too, training on poisoned rows included.",
)
@seed_option
@draws_option
@encoder
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(
    *,
    artifact: Path,
    data: list[Path],
    train: list[Path],
    answers: list[Path],
    prices: Path | None,
    max_p50_ms: float,
    max_size_mb: float,
    splits: int,
    suite: str | None,
    seed: int,
    draws: int,
    encoders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Exit with 0 if the artifact beats every baseline beyond noise, else with 1 or 3.

    The baselines are mixing single models at random, the artifact's own mix at random, the best
    single model, prompt length, kNN(k=100) and guarded kNN. 1 means that it is worse than one of
    them, or too slow or large; 3 that the queries do not decide it. All rows are judged: those of
    the training by the artifact's recipe, fitted on other folds, further ones by itself.

    An artifact with a workflow has to beat single choice as well, that of its router included,
    for the workflow to ship. With `--suite robustness` no check of that may fail either.
    """
    from routers.gate.check import Limits  # noqa: PLC0415
    from routers.gate.several import read_answered, with_workflow  # noqa: PLC0415
    from routers.gate.trial import prepare_trial  # noqa: PLC0415
    from routers.gate.verdict import judge  # noqa: PLC0415

    answered = read_answered(artifact, train, data, answers)
    trials = []
    for split in range(splits):
        tried = prepare_trial(
            artifact,
            train,
            data,
            split=split,
            prices_file=prices,
            n_draws=draws,
            seed=seed,
            trusted=encoders,
            progress=progress,
        )
        if answered is not None:
            tried = with_workflow(tried, answered, seed=seed, progress=progress)
        trials.append(tried)
    trial = trials[0]
    notes = [*trial.notes]
    if answers and answered is None:
        notes.append("The artifact has no workflow: nothing looks at answers.")
    progress("judging")
    limits = Limits(max_p50_ms=max_p50_ms, max_size_mb=max_size_mb)
    judgement = judge(trials, artifact, limits=limits)
    robustness = None
    if suite == "robustness":
        robustness = _robust(artifact, train, data, prices, seed, encoders)
    n_queries = len(trial.frame.rows)
    version = None if trial.artifact is None else trial.artifact.version
    found = {
        "artifact": str(artifact),
        "version": version,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "passed": judgement.verdict.value == "passed"
        and (robustness is None or robustness["passed"]),
        "n_queries": n_queries,
        "n_cross_fitted": trial.n_crossed,
        "n_splits": splits,
        "n_abstaining": trial.n_abstaining,
        "ships": _ships(trial, judgement.checks),
        "checks": [check.to_dict() for check in judgement.checks],
        "robustness": robustness,
        "notes": notes,
    }
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
    else:
        _tell(found)
    code = _EXIT_CODES[judgement.verdict.value]
    if robustness is not None and not robustness["passed"]:
        code = 1
    if code:
        raise SystemExit(code)


def _tell(found: Mapping[str, Any]) -> None:
    told = printable(f"{_VERDICTS[found['verdict']]}: {found['reason']}")
    click.echo(
        f"{found['artifact']} (version {found['version']}) on {found['n_queries']} queries, "
        f"{found['n_cross_fitted']} of them cross-fitted, {told}"
    )
    for check in found["checks"]:
        line = printable(f"{check['name']}: {check['finding']}")
        click.echo(f"  {_MARKS[check['verdict']]}  {line}")
    for note in found["notes"]:
        click.echo(f"  note: {printable(note)}")
    if found["robustness"] is not None:
        from routers.commands._robustness import tell  # noqa: PLC0415

        tell(found["robustness"])


def _robust(  # noqa: PLR0917
    artifact: Path,
    train: list[Path],
    data: list[Path],
    prices: Path | None,
    seed: int,
    encoders: tuple[str, ...],
) -> dict[str, Any]:
    from routers.commands._robustness import examined, learned  # noqa: PLC0415

    (router,) = examined([artifact], prices=prices, seed=seed, trusted=encoders)["routers"]
    router["checks"] += learned(artifact, train, data, seed=seed, trusted=encoders)
    router["passed"] = all(each["verdict"] != "failed" for each in router["checks"])
    return dict(router)


def _ships(trial: "Trial", checks: "Sequence[Check]") -> str | None:
    """Say whether several calls or one are better; None where only one was ever to be made."""
    from routers.gate.check import Verdict  # noqa: PLC0415
    from routers.gate.verdict import SINGLE_CHOICE  # noqa: PLC0415

    if trial.several is None:
        artifact = trial.artifact
        tried = artifact is not None and "workflow" in artifact.manifest["metrics"]
        return SINGLE_CHOICE if tried else None
    better = {check.name: check.verdict is Verdict.PASSED for check in checks}[SINGLE_CHOICE]
    return "workflow" if better else SINGLE_CHOICE
