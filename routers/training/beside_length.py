"""Whether a router does better than the prompt's length, on predictions that were held out."""

import numpy as np

from routers.data.dataset import OutcomeTable
from routers.data.support import Support
from routers.evaluation.assess import frame_of, predicted_costs, realised_costs
from routers.evaluation.baselines import crossed_prompt_length
from routers.evaluation.bootstrap import Interval
from routers.evaluation.frame import kept_rows, sweep
from routers.models import PriceTable
from routers.types import Predictions


def over_prompt_length(
    table: OutcomeTable, predictions: Predictions, *, folds: np.ndarray, prices: PriceTable
) -> dict[str, float | None] | None:
    """Return the area above routing by length alone, with its paired 95 % interval.

    Both are cross-fitted on the same folds, and their settings are chosen on other rows than
    measured on. None where the outcomes cannot tell.
    """
    if not Support.of(table.quality).comparable:
        return None
    spent = realised_costs(table, predictions, prices)
    everything, judged = np.arange(len(table)), kept_rows(table.quality)
    length = crossed_prompt_length(frame_of(table, everything, spent).rows, folds, judged)
    frame = frame_of(table, judged, spent[judged])
    cost = predicted_costs(table.input_tokens, predictions.output_tokens, table.models, prices)
    picks = sweep(predictions.quality[judged].astype(np.float64), cost[judged])
    mine, theirs = frame.fair_area(picks), frame.fair_area(length.picks)
    return Interval.of(mine[0] - theirs[0], mine[1] - theirs[1]).to_dict()
