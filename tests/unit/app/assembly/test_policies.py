"""What is built from a configuration."""

import os
import subprocess
import sys

import pytest

from tests.support.gateway import CONFIGS, REPOSITORY

_PRINT = """
import sys
from pathlib import Path
from app.assembly import build_policies, config_version, load_artifacts
from app.config import load_config
config = load_config(Path(sys.argv[1]), env={})
policies = build_policies(config, load_artifacts(config))
print(config_version(config), *(policy.version for policy in policies.values()))
"""


@pytest.fixture(scope="module")
def versions():
    """Return the versions that two processes give to one configuration."""
    return [
        subprocess.run(
            [sys.executable, "-c", _PRINT, str(CONFIGS / "gateway.yaml")],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]


def test_every_process_gives_a_configuration_the_same_versions(versions):
    # Replicas share cached answers by these; a set's order must not leak into them.
    assert versions[0] == versions[1]


def test_each_policy_has_a_version_of_its_own(versions):
    assert len(set(versions[0])) == len(versions[0]) == 4
