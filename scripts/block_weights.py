"""The command line of the scripts that train what a feature block ships with."""

import argparse
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def train_and_write(
    about: str,
    train: Callable[[Collection[str]], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
    *,
    default_out: Path,
) -> None:
    """Train without the sets that the command line leaves out, and write weights and facts.

    Parameters
    ----------
    about
        The script's docstring, whose first line describes the command.
    train
        From the names of sets to leave out to arrays and facts.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--without", default="", help="sets to leave out, separated by commas")
    parser.add_argument("--out", type=Path, default=default_out)
    options = parser.parse_args()
    arrays, facts = train(tuple(filter(None, options.without.split(","))))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, **arrays)
    facts_file = options.out.with_suffix(".json")
    facts_file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))
