"""A small file that says what to replay: a workflow, and what it chooses from."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.data.lines import read_document
from routers.errors import RoutingConfigError
from routers.evaluation.policy import Policy
from routers.evaluation.scene import Ceilings
from routers.files import shown
from routers.workflows.base import Workflow, make_workflow


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    workflow: dict[str, Any] | None = None
    candidates: tuple[str, ...] | None = Field(default=None, min_length=1)
    artifact: str | None = None
    default_model: str | None = None
    max_calls: int = Field(default=16, ge=1, le=64)
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_time_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)


def read_policy(path: Path, content: object, *, trusted: Collection[str] = ()) -> Policy:
    """Read a policy: its `workflow`, what it chooses from, and the ceilings of a query.

    A workflow is its kind and options. Models are called what the outcomes call them. Without
    `candidates` all of them may be called, without an `artifact` (a folder, relative to the file)
    nothing is predicted of them.

    Parameters
    ----------
    content
        What the file holds.

    Raises
    ------
    RoutingConfigError, ArtifactError
        If an entry does not exist or fit; the message names it.
    """
    try:
        given = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RoutingConfigError(f"{path}: {shown(where)}: {first['msg']}") from error
    artifact = None
    if given.artifact is not None:
        artifact = load_artifact(path.parent / given.artifact, trusted=trusted)
    try:
        workflow = None if given.workflow is None else workflow_of(given.workflow, artifact)
    except RoutingConfigError as error:
        raise RoutingConfigError(f"{path}: workflow: {error}") from error
    return Policy(
        artifact=artifact,
        workflow=workflow,
        candidate_names=given.candidates,
        default_model=given.default_model,
        ceilings=Ceilings(
            calls=given.max_calls, cost_usd=given.max_cost_usd, time_s=given.max_time_s
        ),
    )


def read_content(path: Path) -> object:
    """Return what a policy file or a configuration holds.

    Raises
    ------
    RoutingConfigError
        If it cannot be read.
    """
    try:
        return read_document(path)
    except OSError as error:
        raise RoutingConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RoutingConfigError(f"{path}: is not valid YAML ({error})") from error


def workflow_of(given: Mapping[str, Any], artifact: RouterArtifact | None) -> Workflow:
    """Make a workflow from its kind and options; one that learns is taken from the artifact.

    Raises
    ------
    RoutingConfigError
        If there is no such kind or option, or the artifact holds no workflow of the kind.
    """
    workflow = make_workflow(given)
    if not workflow.learns:
        return workflow
    fitted = None if artifact is None else artifact.workflow
    if fitted is None or fitted.kind != workflow.kind:
        raise RoutingConfigError(
            f"{workflow.kind!r} learns from answers: fit it (steelyard fit --answers), and name "
            "the artifact"
        )
    return fitted
