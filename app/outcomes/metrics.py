"""Instruments of the decision log: what was lost of it, and what came back as labels."""

from prometheus_client import CollectorRegistry, Counter

from app.outcomes.rows import Decided, LabelKind


class LearningMetrics:
    """The instruments, on the registry of all others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dropped = Counter(
            "gateway_outcomes_dropped",
            "Rows of the decision log that were lost, most likely because its buffer was full.",
            registry=registry,
        )
        self._feedback = Counter(
            "gateway_feedback",
            "Labels by kind: score, thumbs or preference; the same label again is not counted.",
            ("kind",),
            registry=registry,
        )
        self._labels = Counter(
            "gateway_labels",
            "Answers that got their first quality label and had a predicted quality.",
            ("policy", "model"),
            registry=registry,
        )
        self._quality = Counter(
            "gateway_labelled_quality",
            "Sum of these labels, each from 0 to 1.",
            ("policy", "model"),
            registry=registry,
        )
        self._predicted = Counter(
            "gateway_labelled_predicted_quality",
            "Sum of the quality that was predicted of the same answers.",
            ("policy", "model"),
            registry=registry,
        )

    def dropped(self, n_rows: int) -> None:
        """Count rows that were lost."""
        self._dropped.inc(n_rows)

    def labelled(self, kind: LabelKind, decided: Decided | None, quality: float | None) -> None:
        """Count a label; `decided` and `quality` only for the first one of an answer."""
        self._feedback.labels(kind.value).inc()
        if decided is None or quality is None or decided.predicted_quality is None:
            return
        labels = decided.policy, decided.model or "none"
        self._labels.labels(*labels).inc()
        self._quality.labels(*labels).inc(quality)
        self._predicted.labels(*labels).inc(decided.predicted_quality)
