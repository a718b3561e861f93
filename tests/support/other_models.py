"""A gateway with models that do not chat, all of them simulated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.gateway import CONFIGS, read_yaml, write_yaml

MODELS: Mapping[str, Mapping[str, Any]] = {
    "sim-embed": {"kind": "embeddings", "token_ids": True},
    "sim-embed-large": {"kind": "embeddings"},
    "sim-moderation": {"kind": "moderations"},
    "sim-rerank": {"kind": "rerank"},
    "sim-image": {"kind": "images"},
    "sim-speech": {"kind": "audio"},
    "sim-transcribe": {"kind": "audio"},
}
_PRICES = {
    "input_usd_per_mtok": 0.1,
    "output_usd_per_mtok": 0.0,
    "usd_per_answer": 0.0,
    "source": "made up",
    "date": "2026-01-01",
}


def with_other_models(
    directory: Path,
    *,
    upstreams: Mapping[str, str] | None = None,
    usd_per_answer: float = 0.0,
    output_usd_per_mtok: float = 0.0,
    **changes: Any,
) -> dict[str, Any]:
    """Return changes of the default configuration that add the models.

    Parameters
    ----------
    upstreams
        Further places of each model: name → base URL.
    usd_per_answer, output_usd_per_mtok
        Of every one of them but, for an answer, those for embeddings.
    """
    catalogue = read_yaml(CONFIGS / "models.yaml")
    for name, facts in MODELS.items():
        fee = 0.0 if facts["kind"] == "embeddings" else usd_per_answer
        prices = {
            **_PRICES,
            "usd_per_answer": fee,
            "output_usd_per_mtok": output_usd_per_mtok,
        }
        catalogue["models"][name] = {"prices": prices, "context_window_tokens": 8192, **facts}
    file = directory / "models.yaml"
    write_yaml(file, catalogue)
    places = [{"upstream": name} for name in ("stub", *(upstreams or {}))]
    return {
        "catalogue": str(file),
        **{f"models.{name}": {"deployments": places} for name in MODELS},
        **{
            f"upstreams.{name}": {"kind": "openai", "base_url": url}
            for name, url in (upstreams or {}).items()
        },
        **changes,
    }
