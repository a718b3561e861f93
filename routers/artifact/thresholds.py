"""Thresholds that `steelyard calibrate` stored in an artifact, and what it found of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

StoredName = Literal["calibrated", "max-drop", "guaranteed"]
"""`calibrated` sends a wanted share to the strong model, `max-drop` kept the mean of quality within
an allowed drop on the calibration's own requests, `guaranteed` keeps a promise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThreshold:
    """A threshold between two models of an artifact.

    Attributes
    ----------
    strong, weak
        Names of the artifact's models; the threshold holds for no other pair.
    statement
        What it does on requests like those it was fitted on, in words.
    """

    strong: str
    weak: str
    threshold: float
    statement: str


def stored_thresholds(manifest: Mapping[str, Any]) -> dict[StoredName, StoredThreshold]:
    """Return the thresholds in an artifact's manifest by name; empty without a calibration."""
    record = manifest.get("recalibrated", {})
    found: dict[StoredName, StoredThreshold] = {}
    calibrated = record.get("thresholds", {})
    if "threshold" in calibrated:
        date = str(manifest.get("created_at", ""))[:10]
        found["calibrated"] = _stored(
            calibrated,
            f"Sends {calibrated['strong_share']:.0%} of requests like those of the calibration "
            f"of {date} to {calibrated['strong']}.",
        )
    if "drop" in record:
        found["max-drop"] = _stored(record["drop"], record["drop"]["statement"])
    if "guarantee" in record:
        found["guaranteed"] = _stored(record["guarantee"], record["guarantee"]["statement"])
    return found


def _stored(entry: Mapping[str, Any], statement: str) -> StoredThreshold:
    if not math.isfinite(float(entry["threshold"])):
        raise ValueError("a stored threshold is no number")
    return StoredThreshold(
        strong=str(entry["strong"]),
        weak=str(entry["weak"]),
        threshold=float(entry["threshold"]),
        statement=statement,
    )
