"""What a configuration may say of the decision log and of traces."""

import pytest

from app.assembly import build_decision_log, build_keeps, build_tracer
from app.errors import ConfigError
from app.gateway.heard import NOTHING, Keeps
from app.outcomes.redaction import Redactor
from tests.support.gateway import stub_config

URL = "http://127.0.0.1:9"


def config(tmp_path, changes):
    return stub_config(tmp_path, URL, changes=changes)


@pytest.mark.parametrize(
    ("changes", "logs"),
    [
        ({}, False),
        ({"store.data_dir": "data"}, True),
        ({"store.data_dir": "data", "outcomes.enabled": False}, False),
        ({"store.kind": "redis"}, False),
        ({"store.kind": "redis", "store.data_dir": "data"}, True),
    ],
)
def test_there_is_a_log_where_there_is_a_place_for_it(tmp_path, changes, logs):
    loaded = config(tmp_path, changes)
    assert loaded.gateway.logs_decisions is logs
    assert (build_decision_log(loaded) is not None) is logs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcomes.enabled": True}, "set store.data_dir"),
        ({"outcomes.sink": "redis"}, "set store.kind: redis"),
        ({"outcomes.contents.enabled": True}, "there is no decision log"),
        (
            {"store.data_dir": "d", "outcomes.contents": {"redact_hook": "no colon"}},
            "redact_hook",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, changes)


def test_a_log_on_redis_needs_its_address(tmp_path):
    loaded = config(tmp_path, {"store.kind": "redis", "outcomes.sink": "redis"})
    with pytest.raises(ConfigError, match="STEELYARD_REDIS_URL"):
        build_decision_log(loaded)


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({}, NOTHING),
        ({"outcomes.features": "value"}, NOTHING),
        ({"store.data_dir": "d"}, NOTHING),
        ({"store.data_dir": "d", "outcomes.features": "value"}, Keeps(features=True)),
        ({"store.data_dir": "d", "outcomes.contents.enabled": True}, Keeps(answers=True)),
        ({"traces.content": True}, NOTHING),
        ({"traces": {"enabled": True, "content": True}}, Keeps(answers=True)),
    ],
)
def test_texts_are_carried_only_where_somebody_may_keep_them(tmp_path, changes, keeps):
    found = build_keeps(config(tmp_path, changes))
    assert found == keeps
    assert (found is NOTHING) == (keeps == NOTHING)


def test_there_is_no_tracer_unless_it_is_switched_on(tmp_path):
    assert build_tracer(config(tmp_path, {})) is None


def shout(text):
    """Stand for an operator's function."""
    return text.upper()


def no_text(_text):
    """Stand for an operator's mistake."""


CONTENT = {"messages": [{"role": "user", "content": "a 1234 b"}], "answer": "5678"}


def test_patterns_come_first_then_the_function():
    redactor = Redactor([r"\d+", "b"], f"{__name__}:shout")
    assert redactor.apply(CONTENT) == {
        "messages": [{"role": "user", "content": "A [REDACTED] [REDACTED]"}],
        "answer": "[REDACTED]",
    }
    assert Redactor().apply({**CONTENT, "answer": None}) == {**CONTENT, "answer": None}


def test_what_cannot_be_redacted_is_not_kept_and_not_logged(caplog):
    redactor = Redactor([], f"{__name__}:no_text")
    assert redactor.apply(CONTENT) is None
    assert redactor.apply(CONTENT) is None
    (record,) = caplog.records
    assert "TypeError" in record.getMessage()
    assert "1234" not in caplog.text


@pytest.mark.parametrize(
    ("patterns", "hook", "message"),
    [
        (["("], None, "no regular expression"),
        ([], "no_such_module_at_all:f", "cannot load"),
        ([], "json:no_such_function", "cannot load"),
        ([], "json:__name__", "is no function"),
    ],
)
def test_rules_that_cannot_work_stop_the_start(patterns, hook, message):
    with pytest.raises(ConfigError, match=message):
        Redactor(patterns, hook)
