"""Upstream calls as outcomes hold them."""

from app.calls import Call, CallRole


def call(model_id, *, role=CallRole.ANSWER, **fields):
    """Return a call; whatever is not named is ordinary."""
    values = {
        "call_id": "dec-1.0",
        "parent_id": "dec-1",
        "upstream": "stub",
        "began_s": 0.0,
        "duration_s": 0.1,
    }
    return Call(role=role, model_id=model_id, **{**values, **fields})
