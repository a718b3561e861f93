"""Rows that earlier releases wrote, read as this one writes them.

They had the calls that might answer in a column `attempts`, what a scorer had cost in another one,
and in `cost_nusd` what was paid besides it.
"""

from app.calls import CallRole
from app.outcomes.calls import StoredCall, read_calls, text_of
from app.outcomes.rows import OutcomeRow


class StoredRow(OutcomeRow, frozen=True, kw_only=True, gc=False):
    """A row of any release, as it lies there."""

    attempts: str | None = None
    scorer_cost_nusd: int | None = None

    def current(self) -> OutcomeRow:
        """Return the row as this release writes it."""
        fields = {name: getattr(self, name) for name in OutcomeRow.__struct_fields__}
        if self.calls is None and (self.attempts is not None or self.scorer_cost_nusd is not None):
            fields["calls"] = text_of(calls_of_before(self.attempts, self.scorer_cost_nusd))
        if self.scorer_cost_nusd is not None and self.cost_nusd is not None:
            fields["cost_nusd"] = self.cost_nusd + self.scorer_cost_nusd
        return OutcomeRow(**fields)


OLD_FIELDS = tuple(
    name for name in StoredRow.__struct_fields__ if name not in OutcomeRow.__struct_fields__
)


def calls_of_before(attempts: str | None, scorer_cost_nusd: int | None) -> list[StoredCall]:
    """Return the calls that an earlier release told of; not who its scorer was, nor its tokens."""
    scorer = StoredCall(role=CallRole.JUDGE.value, cost_nusd=scorer_cost_nusd)
    return [*([] if scorer_cost_nusd is None else [scorer]), *read_calls(attempts)]
