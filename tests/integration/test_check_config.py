"""`steelyard check-config` finds what would stop `serve` or fail at the first request."""

import pytest

from app.cli import main
from tests.support.gateway import CONFIGS, read_yaml, write_yaml

SHIPPED = sorted(CONFIGS.glob("gateway*.yaml"))


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    """Check a file that is the one of OpenAI's with changes to its upstream."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def check(*options, **changes):
        document = read_yaml(CONFIGS / "gateway.openai.yaml")
        document["catalogue"] = str(CONFIGS / "models.yaml")
        document["upstreams"]["openai"] |= changes
        file = tmp_path / "gateway.yaml"
        write_yaml(file, document)
        code = 0
        try:
            main(["check-config", *options, str(file)])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return check


def test_a_variable_that_is_not_set_is_refused_unless_the_machine_is_another(check, monkeypatch):
    code, out, err = check()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "upstreams.openai.api_key_env: the key comes from OPENAI_API_KEY, which is not" in err
    code, out, err = check("--no-env")
    assert (code, err) == (0, "")
    assert "OPENAI_API_KEY  not looked at" in out
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    code, out, err = check()
    assert (code, err) == (0, "")
    assert "is fine: 1 upstream, 2 models, 1 policy" in out
    assert "sk-canary" not in out


def test_a_gateway_that_nobody_can_look_into_is_a_warning(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("STEELYARD_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.delenv("STEELYARD_ADMIN_TOKEN", raising=False)
    main(["check-config", str(CONFIGS / "gateway.production.yaml")])
    assert "there is no /admin, and nobody may read /metrics" in capsys.readouterr().err
    monkeypatch.setenv("STEELYARD_ADMIN_TOKEN", "canary-canary-canary")
    main(["check-config", str(CONFIGS / "gateway.production.yaml")])
    out, err = capsys.readouterr()
    assert err == ""
    assert "canary" not in out


def test_what_may_be_a_mistake_is_a_warning_unless_it_is_to_be_strict(check):
    code, out, err = check("--no-env", base_url="https://models.example.com")
    assert code == 0
    assert "is fine" in out
    assert err.startswith("warning: gateway.yaml: line ")
    assert "has no path" in err
    code, out, err = check("--no-env", "--strict", base_url="https://models.example.com")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no path" in err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "https://api.openai.com"}, "write https://api.openai.com/v1"),
        ({"base_url": "https://a/v1/chat/completions"}, "which the gateway appends itself"),
        ({"extra_headers": {"x-a": "a\r\nb"}}, "extra_headers.x-a: has a value with line breaks"),
        ({"kind": "openia"}, "upstreams.openai.kind: unknown kind 'openia'; did you mean 'openai'"),
        ({"api_key": "sk-canary"}, "its name into `api_key_env`"),
    ],
)
def test_what_would_fail_at_the_first_request_is_refused(check, changes, words):
    code, out, err = check("--no-env", **changes)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert "gateway.yaml: line " in err
    assert "canary" not in err


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_what_is_shipped_passes_strictly_without_its_secrets(capsys, file):
    main(["check-config", "--no-env", "--strict", str(file)])
    out, err = capsys.readouterr()
    assert f"{file} is fine" in out
    assert err == ""


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({"gpt-4o": "auto"}, "aliases.gpt-4o: is one of `models`"),
        ({"a": "b", "b": "a"}, "stands for itself: a → b → a"),
        ({"claude-*": "auto:qualty"}, "did you mean 'auto:quality'"),
        ({"auto:fast": "gpt-4o"}, "aliases.auto:fast: the name is reserved for routing"),
        ({"a b": "auto"}, "aliases"),
        ({"a": "router-nobody-0.5"}, "no router 'nobody' with a pair"),
    ],
)
def test_aliases_that_cannot_be_are_refused(tmp_path, capsys, aliases, words):
    file = aliased(tmp_path, aliases)
    with pytest.raises(SystemExit):
        main(["check-config", "--no-env", str(file)])
    assert words in capsys.readouterr().err


def test_aliases_are_told_and_so_is_a_pattern_that_models_do_not_follow(tmp_path, capsys):
    main(["check-config", "--no-env", str(aliased(tmp_path, {"gpt-*": "auto:0.7"}))])
    out, err = capsys.readouterr()
    assert "aliases\n  gpt-*  = auto:0.7\n" in out
    assert "aliases.gpt-*: does not stand for gpt-4o, gpt-4o-mini: a model keeps its name" in err


def aliased(folder, aliases):
    document = read_yaml(CONFIGS / "gateway.openai.yaml")
    document |= {"catalogue": str(CONFIGS / "models.yaml"), "aliases": aliases}
    document["policies"]["quality"] = document["policies"]["default"]
    file = folder / "gateway.yaml"
    write_yaml(file, document)
    return file
