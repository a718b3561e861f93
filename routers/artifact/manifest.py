"""The manifest of an artifact: read, and held against its own digest and its schema."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routers.errors import ArtifactError
from routers.files import read_regular, shown

FORMAT = 1
MANIFEST_FILE = "manifest.json"

MAX_MANIFEST_BYTES = 4 * 2**20
"""The shipped one has 16 kB; parsed, this many bytes take at most some tens of megabytes."""

MAX_ARRAYS = 4096
_MAX_DIMENSIONS = 4

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]
_Usd = Annotated[float, Field(ge=0)] | None


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Strategy(_Entry):
    kind: str
    options: dict[str, Any]


class _Prices(_Entry):
    input_usd_per_mtok: _Usd
    output_usd_per_mtok: _Usd
    cached_input_usd_per_mtok: _Usd = None
    reasoning_usd_per_mtok: _Usd = None
    cache_write_usd_per_mtok: _Usd = None
    cache_write_1h_usd_per_mtok: _Usd = None
    audio_input_usd_per_mtok: _Usd = None
    audio_output_usd_per_mtok: _Usd = None
    usd_per_answer: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _Array(_Entry):
    dtype: str
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=_MAX_DIMENSIONS)]


class _Workflow(_Strategy):
    knob: list[list[float]] | None = None
    notes: dict[str, Any] = {}


class _Onboarded(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    model: _Name


class _Manifest(_Entry):
    """What has to be there; what only people read may say what it likes."""

    format: int
    steelyard_version: str
    created_at: str
    strategy: _Strategy
    features: dict[str, Any]
    models: Annotated[list[_Name], Field(min_length=1)]
    prices: dict[str, _Prices]
    knob: list[list[float]]
    data: list[Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    notes: dict[str, Any]
    seed: int
    arrays: Annotated[dict[str, _Array], Field(max_length=MAX_ARRAYS)]
    weights_sha256: _Sha256
    digest: _Sha256
    onboarded: list[_Onboarded] = []
    recalibrated: dict[str, Any] = {}
    inserted: list[dict[str, Any]] = []
    workflow: _Workflow | None = None

    @model_validator(mode="after")
    def _models_agree(self) -> "_Manifest":
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is listed twice")
        if self.prices.keys() != set(self.models):
            raise ValueError("models and prices do not name the same models")
        return self


_OPTIONAL_KEYS = frozenset({"onboarded", "recalibrated", "inserted", "workflow"})
_KEYS = frozenset(_Manifest.model_fields) - _OPTIONAL_KEYS


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the folder `path` and hold it against its own digest.

    Raises
    ------
    ArtifactError
        If it is missing, too large, of another format, was changed, or does not say what it has
        to.
    """
    file = path / MANIFEST_FILE
    manifest = _parse(path, file)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ArtifactError(
            f"{file} has artifact format {shown(repr(found))}, this version reads format {FORMAT}: "
            "fit the artifact again"
        )
    if manifest.keys() - _OPTIONAL_KEYS != _KEYS:
        odd = ", ".join(sorted((manifest.keys() - _OPTIONAL_KEYS) ^ _KEYS))
        raise ArtifactError(f"{file} lacks or adds entries ({shown(odd)}); fit the artifact again")
    try:
        digest = digest_of(manifest)
    except (RecursionError, UnicodeEncodeError) as error:
        raise ArtifactError(
            f"{file} holds what no manifest does ({_reason(error)}); fit the artifact again"
        ) from error
    if manifest["digest"] != digest:
        raise ArtifactError(
            f"{file} was changed after training (its digest differs); fit the artifact again"
        )
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"{file} does not say what a manifest does ({shown(f'{where}: ' if where else '')}"
            f"{first['msg']}); fit the artifact again"
        ) from error
    return manifest


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Hash everything in a manifest but the digest itself and the time."""
    content = {key: manifest[key] for key in sorted(manifest.keys() - {"digest", "created_at"})}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _parse(path: Path, file: Path) -> Any:
    try:
        text = read_regular(file, most_bytes=MAX_MANIFEST_BYTES).decode("utf-8")
    except OSError as error:
        raise ArtifactError(
            f"{path} is no artifact: {MANIFEST_FILE} cannot be read ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{file} is not valid JSON; fit the artifact again") from error
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{file} is not valid JSON ({_reason(error)}); fit the artifact again"
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an entry occurs twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate"
    return shown(str(error))
