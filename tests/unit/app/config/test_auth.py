import pytest

from app.check.servable import check_who_may_ask
from app.config import load_config
from app.errors import ConfigError
from tests.support.gateway import CONFIGS, stub_config

SHIPPED = CONFIGS / "gateway.yaml"


def test_without_a_token_in_the_environment_there_is_none():
    assert load_config(SHIPPED, env={}).admin_token is None
    assert load_config(SHIPPED, env={"STEELYARD_ADMIN_TOKEN": ""}).admin_token is None


def test_the_admin_token_is_read_and_shown_nowhere():
    config = load_config(SHIPPED, env={"STEELYARD_ADMIN_TOKEN": "canary-canary-canary"})
    assert config.admin_token == "canary-" * 2 + "canary"
    assert "canary" not in repr(config)
    assert "canary" not in str(config)
    assert "canary" not in str(config.model_dump())


@pytest.mark.parametrize("token", ["short", "x" * 15, "has a blank in the middle", "ünïcödé" * 4])
def test_a_poor_admin_token_stops_the_start_and_is_not_repeated(token):
    with pytest.raises(ConfigError) as caught:
        load_config(SHIPPED, env={"STEELYARD_ADMIN_TOKEN": token})
    assert "STEELYARD_ADMIN_TOKEN" in str(caught.value)
    assert token not in str(caught.value)


def test_the_variable_of_the_admin_token_is_configurable(tmp_path):
    env = {"OUR_TOKEN": "x" * 16, "STEELYARD_ADMIN_TOKEN": "y" * 16}
    changes = {"auth": {"admin_token_env": "OUR_TOKEN"}}
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes, env=env)
    assert config.admin_token == "x" * 16


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_served_without_further_words(host):
    check_who_may_ask(load_config(SHIPPED, env={}).gateway, host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "10.0.0.1", "localhost.example", "*"],  # noqa: S104  (refused)
)
@pytest.mark.parametrize("auth", [{"mode": "keys"}, {"mode": "none"}, {}])
def test_other_addresses_need_the_mode_written_out(tmp_path, host, auth):
    changes = {"auth": auth, "store": {"data_dir": "data"}}
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes).gateway
    if auth:
        check_who_may_ask(config, host)
    else:
        with pytest.raises(ConfigError, match="who may ask"):
            check_who_may_ask(config, host)


def test_the_docker_configuration_says_who_may_ask():
    config = load_config(CONFIGS / "gateway.docker.yaml", env={}).gateway
    check_who_may_ask(config, config.server.host)


def test_keys_of_upstreams_are_shown_nowhere_either(tmp_path):
    changes = {"upstreams.stub.api_key_env": "STUB_KEY"}
    env = {"STUB_KEY": "canary-of-the-upstream"}
    config = stub_config(tmp_path, "http://127.0.0.1:9", changes=changes, env=env)
    assert config.secrets == {"stub": "canary-of-the-upstream"}
    for shown in (repr(config), str(config), str(config.model_dump())):
        assert "canary" not in shown
