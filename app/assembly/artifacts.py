"""The artifacts of configured routers, loaded and timed."""

import time
from collections.abc import Callable
from pathlib import Path

import routers
from app.config import LoadedConfig
from routers.artifact.artifact import RouterArtifact
from routers.artifact.load import load_artifact
from routers.errors import RoutingError
from routers.types import Conversation

DEFAULT_ARTIFACT = Path(routers.__file__).parent / "pretrained" / "default"
"""The artifact that is shipped in the package."""

_INLINE_S = 0.001
"""A decision that takes longer on a short prompt does not run on the event loop."""


def load_artifacts(config: LoadedConfig) -> dict[str, RouterArtifact]:
    """Load the artifact of every configured router, each file once.

    Raises
    ------
    ConfigError
        If an artifact is missing, damaged, or does not fit this installation.
    """
    loaded: dict[tuple[Path, frozenset[str], str], RouterArtifact] = {}
    artifacts = {}
    for name, router in config.gateway.routers.items():
        path, trusted = config.artifact_path(name) or DEFAULT_ARTIFACT, frozenset(router.encoders)
        # What takes in feedback is its router's own: others of the same file stay as they are.
        key = (path, trusted, "" if router.feedback is None else name)
        if key not in loaded:
            try:
                loaded[key] = load_artifact(path, trusted=trusted)
            except RoutingError as error:
                raise config.error(("routers", name), str(error)) from error
        artifacts[name] = loaded[key]
        if router.feedback is not None and not loaded[key].router.grows_while_asked:
            raise config.error(
                ("routers", name, "feedback"),
                f"its {loaded[key].router.kind!r} artifact takes in nothing while it serves; "
                "guarded-knn does, and carrot with a knn head for quality "
                "(configs/training/carrot-hnsw.yaml)",
            )
    return artifacts


def inline_chars(artifact: RouterArtifact) -> int:
    """Measure whether a decision is quick enough for the event loop, and warm everything up."""
    prompt = [Conversation.of("What is the capital of France, and why did it become one? " * 3)]
    fastest_s = min(_time(lambda: artifact.predict_conversations(prompt)) for _ in range(10))
    return artifact.featurizer.inline_chars if fastest_s <= _INLINE_S else 0


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
