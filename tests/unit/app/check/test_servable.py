"""What `serve` would refuse is refused before, all of it at once."""

import copy
import os

import pytest

from app.check.servable import check_servable, check_start
from app.config import load_config
from app.errors import ConfigError
from tests.support.gateway import CONFIGS, read_yaml, write_yaml


@pytest.fixture
def load(tmp_path):
    """Load the default configuration with changes; keys are dotted paths."""

    def load(changes=(), *, env=None):
        document = read_yaml(CONFIGS / "gateway.yaml")
        document["catalogue"] = str(CONFIGS / "models.yaml")
        for path, value in dict(changes).items():
            *parents, last = path.split(".")
            place = document
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = copy.deepcopy(value)
        file = tmp_path / "gateway.yaml"
        write_yaml(file, document)
        return load_config(file, env=env or {}, secrets_needed=False)

    return load


def refusal(config, artifacts, **kwargs):
    with pytest.raises(ConfigError) as caught:
        check_servable(config, artifacts=artifacts, **kwargs)
    message = caught.value.message
    assert message.startswith(f"{config.path}: ")
    assert message.count(f"{config.path}: ") == 1
    return message


def test_what_is_shipped_can_be_served(load, artifacts):
    prepared = check_servable(load(), artifacts=artifacts)
    assert set(prepared.policies) == {"default", "economy", "quality"}


REDIS = {"store.kind": "redis"}


@pytest.mark.parametrize(
    ("changes", "env", "words"),
    [
        (
            {"upstreams.stub.api_key_env": "ALPHA_KEY"},
            {},
            "upstreams.stub.api_key_env: the key comes from ALPHA_KEY, which is not set",
        ),
        ({"upstreams.stub.api_key_env": "ALPHA_KEY"}, {"ALPHA_KEY": ""}, "ALPHA_KEY, which is not"),
        (REDIS, {}, "store.kind: redis takes its address from STEELYARD_REDIS_URL, which is not"),
        (REDIS, {"STEELYARD_REDIS_URL": "http://x"}, "the address of Redis cannot be used"),
        (
            REDIS,
            {"STEELYARD_REDIS_URL": "rediss://x?ssl_ca_certs=/nowhere/ca.pem"},
            "names /nowhere/ca.pem as ssl_ca_certs, which cannot be read",
        ),
        ({"server.metrics_token_env": "TOKEN"}, {}, "TOKEN is not set"),
        ({"server.host": "0.0.0.0"}, {}, "0.0.0.0 can be reached from other machines"),  # noqa: S104
        ({"upstreams.stub.kind": "openia"}, {}, "upstreams.stub.kind: unknown kind 'openia'"),
        ({"upstreams.stub.kind": "openia"}, {}, "did you mean 'openai'?"),
        ({"store.data_dir": "gateway.yaml"}, {}, "store.data_dir: "),
        ({"store.data_dir": "x" * 300}, {}, "store.data_dir: cannot be used (File name too long)"),
        ({"store.data_dir": "gateway.yaml/deeper"}, {}, "gateway.yaml is no folder"),
        (
            {
                "store.data_dir": "data",
                "outcomes": {"contents": {"enabled": True, "redact": ["("]}},
            },
            {},
            "outcomes.contents.redact: '(' is no regular expression",
        ),
        (
            {
                "traces": {"enabled": True, "content": True},
                "outcomes": {"contents": {"redact": ["("]}},
            },
            {},
            "outcomes.contents.redact: '(' is no regular expression",
        ),
        ({"models.sim-nano.predicted_as": "gpt-9"}, {}, "sim-nano is predicted as 'gpt-9'"),
    ],
)
def test_what_would_stop_the_start_is_refused(load, artifacts, changes, env, words):
    assert words in refusal(load(changes, env=env), artifacts)


def test_everything_is_told_at_once_with_its_line(load, artifacts):
    config = load(
        {
            "upstreams.stub.api_key_env": "ALPHA_KEY",
            "upstreams.stub.kind": "openia",
            "models.sim-nano.predicted_as": "gpt-9",
            "store.kind": "redis",
        }
    )
    message = refusal(config, artifacts)
    for words in ("ALPHA_KEY", "openia", "gpt-9", "STEELYARD_REDIS_URL"):
        assert words in message
    line = config.document.line(("upstreams", "stub", "kind"))
    assert f"line {line}: upstreams.stub.kind: " in message


def test_what_depends_on_the_machine_can_be_left_out(load, artifacts):
    config = load(
        {
            "upstreams.stub.api_key_env": "ALPHA_KEY",
            "store.kind": "redis",
            "server.metrics_token_env": "TOKEN",
            "store.data_dir": "/proc/nowhere",
        }
    )
    check_servable(config, artifacts=artifacts, here=False)


def test_several_workers_need_a_store_that_they_share(load, artifacts):
    assert "2 workers need a store" in refusal(load(), artifacts, workers=2)


def test_the_port_of_the_command_line_counts(load):
    config = load({"server.metrics_port": 9464})
    check_start(config, host="127.0.0.1", port=0, workers=1)
    with pytest.raises(ConfigError, match=r"server\.metrics_port: 9464 is where requests are"):
        check_start(config, host="127.0.0.1", port=9464, workers=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(load, artifacts, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    message = refusal(load({"store.data_dir": "closed/data"}), artifacts)
    assert "closed cannot be written" in message


def test_a_folder_that_does_not_exist_yet_is_no_fault(load, artifacts):
    check_servable(load({"store.data_dir": "var/a/b/c"}), artifacts=artifacts)
