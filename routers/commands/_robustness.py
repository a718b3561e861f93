"""The suite on the command line: what `evaluate` and `gate` share."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from routers.artifact.load import load_artifact
from routers.commands.base import progress
from routers.errors import DataError
from routers.files import printable


def examined(
    artifacts: Sequence[Path],
    *,
    gateway: str | None = None,
    policy: str = "auto",
    key: str | None = None,
    prices: Path | None = None,
    models: Sequence[str] = (),
    safe: Collection[str] = (),
    private: Collection[str] = (),
    seed: int = 0,
    trusted: Collection[str] = (),
) -> dict[str, Any]:
    """Put artifacts, and the policy of a gateway, through the suite."""
    from routers.commands._gateway import GatewaySubject  # noqa: PLC0415
    from routers.data.prices import read_prices  # noqa: PLC0415
    from routers.robustness.gadget import Effort  # noqa: PLC0415
    from routers.robustness.subject import ArtifactSubject  # noqa: PLC0415
    from routers.robustness.suite import examine  # noqa: PLC0415

    routers = []
    for path in artifacts:
        artifact = load_artifact(path, trusted=trusted)
        listed = None
        if prices is not None:
            listed = {**artifact.prices, **read_prices(prices, artifact.models)}
        subject = ArtifactSubject(artifact, name=str(path), prices=listed, models=models)
        routers.append(examine(subject, seed=seed, safe=safe, private=private, progress=progress))
    if gateway is not None:
        asked = GatewaySubject(gateway, model=policy, key=key)
        # Every decision is a request to somebody's server.
        effort = Effort(n_rounds=12, n_candidates=6, n_queries=4)
        routers.append(
            examine(
                asked,
                seed=seed,
                safe=safe,
                private=private,
                effort=effort,
                smoothed=False,
                progress=progress,
            )
        )
    if not routers:
        raise DataError("nothing to look at: give --artifact, --gateway, or both")
    return {
        "steelyard_version": metadata.version("steelyard"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": "robustness",
        "seed": seed,
        "passed": all(each["passed"] for each in routers),
        "routers": routers,
    }


def learned(
    path: Path,
    train: Sequence[Path],
    data: Sequence[Path],
    *,
    seed: int = 0,
    trusted: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Look at what training rows do: poison where the recipe is known, membership where it can."""
    from routers.data.dataset import read_outcomes  # noqa: PLC0415
    from routers.robustness.learning import membership_check, poisoning_checks  # noqa: PLC0415
    from routers.training.recipe import recipe_of  # noqa: PLC0415

    artifact = load_artifact(path, trusted=trusted)
    trained = read_outcomes(train)
    if data:
        progress("membership inference")
        yield membership_check(artifact, trained, read_outcomes(data), seed=seed).to_dict()
    recipe = recipe_of(artifact.manifest)
    if recipe is not None:
        checks = poisoning_checks(recipe, trained, seed=seed, progress=progress)
        yield from (each.to_dict() for each in checks)


def tell(router: Mapping[str, Any]) -> None:
    """Print what came of one router, a line for each check."""
    from routers.robustness.report import MARKS  # noqa: PLC0415

    verdict = "passes" if router["passed"] else "FAILS"
    click.echo(f"{printable(router['name'])} {verdict} the robustness suite")
    for each in router["checks"]:
        tell_check(each, MARKS[each["verdict"]])


def tell_check(check: Mapping[str, Any], mark: str) -> None:
    """Print one check."""
    bar = f" ({check['bar']})" if check["bar"] else ""
    click.echo(f"  {mark}  {printable(check['name'] + ': ' + check['finding'])}{bar}")
