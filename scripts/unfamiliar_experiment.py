"""Hide one benchmark in turn and route it: prompts unlike anything that was learned.

    python scripts/unfamiliar_experiment.py [--set routerdc7] [--hide NAME,...]

Prints the accuracy of the highest predicted quality on the hidden benchmark, with and without
drawing unfamiliar predictions toward each model's mean, beside the model that is best on average
over the benchmarks that are left. Reads STEELYARD_DATA_DIR (default: ../shared/data).
"""

import argparse
import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from public_data import DATA

from routers.data.dataset import read_outcomes
from routers.embedders.static import StaticEmbedder
from routers.features.featurizer import Featurizer
from routers.strategies.carrot import CarrotRouter


def main() -> None:
    """Print one line per hidden benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", dest="name", default="routerdc7")
    parser.add_argument("--hide", default="arc_challenge,cmmlu,gsm8k,humaneval")
    options = parser.parse_args()
    table = read_outcomes([DATA / f"{options.name}.parquet"])
    origin = np.array([group.split("/")[1] for group in table.groups])
    conversations = list(table.conversations)
    print("| hidden | prompts | best single | without shrinking | default |\n|---|---|---|---|---|")
    for hidden in options.hide.split(","):
        train, test = np.flatnonzero(origin != hidden), np.flatnonzero(origin == hidden)
        featurizer = Featurizer(StaticEmbedder(), ("embedding", "lexical", "terms"))
        featurizer.fit([conversations[i] for i in train])
        x = featurizer.transform([conversations[i] for i in train])
        queries = featurizer.transform([conversations[i] for i in test])
        quality = table.quality[test]
        left = [table.quality[origin == name].mean(axis=0) for name in set(origin) - {hidden}]
        scores = [quality[:, int(np.mean(left, axis=0).argmax())].mean()]
        for shrink in (False, True):
            router = CarrotRouter(shrink_unfamiliar=shrink)
            router.fit(
                x,
                table.labels.rows(train),
                rng=np.random.default_rng(0),
                length_column=featurizer.length_column,
            )
            picks = router.predict(queries).quality.argmax(axis=1)
            scores.append(quality[np.arange(len(test)), picks].mean())
        cells = " | ".join(f"{score:.3f}" for score in scores)
        print(f"| {hidden} | {len(test)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
