"""What a model is called that looks at pictures at one level of detail, as a model of its own."""

VARIANT_MARK = "@"
"""Stands between a model and one of its variants."""

LEVELS = ("low", "high", "original")
_ENDING = "_detail"


def detail_arm(model_id: str, detail: str) -> str:
    """Return the name of a model, or of a variant of one, at a level of detail."""
    return f"{model_id}{'_' if VARIANT_MARK in model_id else VARIANT_MARK}{detail}{_ENDING}"
