"""What scripts/train_request_model.py does without its data."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_training_stops_where_public_data_are_missing(tmp_path):
    out = tmp_path / "weights.npz"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "train_request_model.py", "--out", out],
        env={**os.environ, "STEELYARD_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "public data are missing" in done.stderr
    assert str(tmp_path / "routerbench.parquet") in done.stderr
    assert "--graded-only" in done.stderr
    assert not out.exists()
