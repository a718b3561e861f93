"""A mistake in a configuration is told in words of the file: line, key, reason, remedy."""

import copy
import datetime as dt
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from app.config import Catalogue, GatewayConfig
from app.config.document import Document
from app.config.fields import Strict
from app.config.problems import parse_file, validated
from app.errors import ConfigError
from tests.support.gateway import CONFIGS

GOOD = """\
upstreams:
  up:
    base_url: http://127.0.0.1:9/v1
models:
  cheap: {upstream: up}
  dear: {upstream: up}
routers:
  carrot: {pair: {strong: dear, weak: cheap}}
policies:
  default:
    router: carrot
    candidates: [cheap, dear]
    default_model: cheap
"""
CATALOGUE = """\
models:
  cheap:
    context_window_tokens: 8192
    prices:
      {input_usd_per_mtok: 1.0, output_usd_per_mtok: 2.0, source: a list, date: 2026-01-01}
"""


@pytest.fixture
def problem(tmp_path):
    """Return what is said of a file that is no configuration."""

    def problem(text, model=GatewayConfig):
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            parse_file(file, model)
        message = caught.value.message
        assert message.startswith(f"{file}: ")
        assert "\n" not in message
        for foreign in ("Input should", "valid dictionary", "instance of", "constrained", "Config"):
            assert foreign not in message
        return message.removeprefix(f"{file}: ")

    return problem


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("polices: {}", "line 14: polices: unknown key; did you mean `policies`?"),
        ("serverr: {}", "did you mean `server`?"),
        (
            "allowances: {key: {limits: {requests_per_minut: 3}}}",
            "did you mean `requests_per_minute` (requests per minute)?",
        ),
        ("port: 9", "port: unknown key; it belongs into the section `server`"),
        ("elsewhere: 9", "elsewhere: unknown key; known: aliases, allowances, auth,"),
        ("auth: {admin_token: s3}", "its name into `admin_token_env`"),
        ("store: {kind: redis, redis_url: 's3'}", "its name into `redis_url_env`"),
        ("store: {kind: redis, url: 's3'}", "its name into `redis_url_env`"),
        ("server: {metrics_token: s3}", "its name into `metrics_token_env`"),
        ("server: {keep_alive_s: 5s}", "a number of seconds above 0 and at most 86400, not '5s'"),
        ("server: {keep_alive_s: 5 s}", "write 5"),
        ("server: {keep_alive_s: 2 min}", "write 120"),
        ("server: {keep_alive_s: 500ms}", "write 0.5"),
        ("server: {keep_alive_s: soon}", "not 'soon'"),
        ("server: {keep_alive_s: 5 USD}", "a number of seconds"),
        ("server: {max_body_bytes: 10MB}", "a whole number of bytes from 1024 to 2147483648"),
        ("server: {max_body_bytes: 10MB}", "write 10000000"),
        ("server: {max_rss_mb: 2GB}", "a whole number of megabytes"),
        ("allowances: {gateway: {budgets: [{usd: 5 USD, period: day}]}}", "of US dollars"),
        ("allowances: {gateway: {budgets: [{usd: $5, period: day}]}}", "write 5"),
        ("allowances: {key: {limits: {tokens_per_minute: '10,000 '}}}", "write 10000"),
        (
            "allowances: {gateway: {budgets: [{usd: 5, period: monthly}]}}",
            "line 14: allowances.gateway.budgets.0.period: must be one of day, week, month, not 'm",
        ),
        ("auth: {mode: key}", "auth.mode: must be one of keys, none, not 'key'"),
        ("server: {port: on}", "server.port: must be a whole number from 0 to 65535, not true"),
        ("server: {host: on}", "true or false to YAML: put them in quotes"),
        ("server: {host: 127}", "server.host: must be text; put 127 in quotes"),
        ("store: {prefix: 2026-01-01}", "put 2026-01-01 in quotes"),
        ("cache: {enabled: perhaps}", "must be true or false, not 'perhaps'"),
        (
            "outcomes: {contents: {redact: abc}}",
            "a list, each item text, not 'abc': write [abc]",
        ),
        ("server:", "server: must be a mapping (`key: value`); it is empty here"),
        ("server: []", "server: must be a mapping (`key: value`), not a list"),
        (
            "allowances:\n  teams:\n    support:",
            "line 16: allowances.teams.support: must be a",
        ),
        ("cache: {wait_s: .inf}", "cache.wait_s: must be a number of seconds from 0 to 86400"),
        ("cache: {wait_s: 1.0e+999}", "not inf"),
        ("cache: {wait_s: .nan}", "not nan"),
        ("server: {max_connections: 99999999999999999999}", "from 1 to 1000000"),
        ("traces: {endpoint: collector}", "must be an address such as https://"),
        ("store: {redis_url_env: 'redis://:s3@host'}", "must be the name of an environment vari"),
        ("auth: {admin_token_env: s3-s3-s3}", "must be the name of an environment variable"),
        ("outcomes: {contents: {redact_hook: five}}", "must be `package.module:function`"),
        ("server: {metrics_port: 8080}", "server.metrics_port: 8080 is server.port already"),
        ("stub: {port: 8080}", "stub.port: 8080 is server.port already"),
        ("default_policy: defualt", "unknown name 'defualt'; did you mean 'default'?"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(problem, added, words):
    message = problem(f"{GOOD}{added}\n")
    assert words in message
    assert message.startswith("line 1")
    assert "s3" not in message


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("base_url: http://a/v1\n    api_key: s3", "line 4: upstreams.up.api_key: unknown key"),
        ("base_url: http://a/v1\n    api_key: s3", "its name into `api_key_env`"),
        ("base_url: http://a/v1\n    apiKey: s3", "its name into `api_key_env`"),
        ("base_url: http://a/v1\n    token: s3", "its name into `api_key_env`"),
        ("base_url: http://a/v1\n    api_key_env: sk-s3", "the secret itself is not written here"),
        ("kind: openai", "line 2: upstreams.up.base_url: is missing: an address such as"),
        ("base_url: 'https://me:s3@a/v1'", "name a variable in api_key_env"),
        ("base_url: 'me:s3@a/v1'", "must be an address such as"),
        ("base_url: localhost:8000", "must be an address such as"),
        ("base_url: http://a/v1#x", "has a fragment"),
        ("base_url: http://a/v1/chat/completions/", "write http://a/v1"),
        ("base_url: http://a:80/x/completions?key=s3", "write http://a/x"),
        ("kind: anthropic\n    base_url: http://a:81/v1/messages", "write http://a:81/v1"),
        ("base_url: https://api.openai.com", "write https://api.openai.com/v1"),
        ("base_url: http://api.openai.com/v1", "over https; write https://api.openai.com/v1"),
        (
            "kind: anthropic\n    base_url: https://api.anthropic.com/",
            "https://api.anthropic.com/v1",
        ),
        ("kind: azure\n    base_url: https://a.openai.azure.com", "needs its API version"),
        ("kind: azure\n    base_url: https://a.openai.azure.com/openai/v1", "kind: openai"),
        (
            "kind: azure\n    base_url: https://a.openai.azure.com/openai/deployments/x?api-version=1",
            "has a path",
        ),
        (
            'base_url: http://a/v1\n    extra_headers: {x-a: "s3\\nb"}',
            "extra_headers.x-a: has a val",
        ),
        (
            'base_url: http://a/v1\n    extra_headers: {x-a: "s3\\x7f"}',
            "holds the character U+007F",
        ),
        ("base_url: http://a/v1\n    extra_headers: {x-a: s3ü}", "non-ASCII characters"),
        ("base_url: http://a/v1\n    extra_headers: {x a: s3}", "no name of a header"),
        ("base_url: http://a/v1\n    extra_headers: {'': s3}", "no name of a header"),
        ("base_url: http://a/v1\n    extra_headers: {Host: s3}", "the gateway's own to say"),
        ("base_url: http://a/v1\n    extra_headers: {x-a: [s3]}", "must be text, not a list"),
        (
            "base_url: http://a/v1\n    timeouts: {connect: 3}",
            "did you mean `connect_s` (seconds)?",
        ),
        ("base_url: http://a/v1\n    drop_fields: [model]", "line 4: upstreams.up.drop_fields"),
    ],
)
def test_what_no_request_could_survive_is_told_of_an_upstream(problem, written, words):
    message = problem(GOOD.replace("base_url: http://127.0.0.1:9/v1", written))
    assert words in message
    assert "s3" not in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2026-01-01", "2024-02-30", "line 5: models.cheap.prices.date: there is no such date"),
        ("2026-01-01", "yesterday", "a date such as 2026-01-31, not 'yesterday'"),
        ("1.0", "0.15 USD", "a number of US dollars per million tokens from 0 to 1000000"),
        ("1.0", "-1", "line 5: models.cheap.prices.input_usd_per_mtok: must be"),
        ("8192", "128k", "line 3: models.cheap.context_window_tokens: must be"),
        ("8192", "128k", "write 128000"),
        ("input_usd_per_mtok: 1.0, ", "", "is missing: a number of US dollars"),
        ("input_usd_per_mtok: 1.0, ", "", "or null where it is not known"),
    ],
)
def test_a_mistake_in_the_catalogue_is_told_likewise(problem, old, new, words):
    assert words in problem(CATALOGUE.replace(old, new), Catalogue)


def test_an_empty_file_is_told_what_it_needs(problem):
    assert problem("") == "is empty; it needs upstreams and models"
    assert problem("# models: {}\n", Catalogue) == "is empty; it needs models"


def test_several_mistakes_are_told_at_once_by_line(problem):
    text = GOOD.replace("[cheap, dear]", "5") + "server: {port: x, host: 1}\nq: 1\nw: 1\nr: 1\n"
    message = problem(text)
    lines = [part.split(":")[0] for part in message.split("; line ")]
    assert lines == ["line 12", "14", "14", "15", "16; and 1 more"] or "and 1 more" in message
    assert message.index("line 12") < message.index("line 14") < message.index("line 15")


NASTY = (
    None,
    True,
    -1,
    0,
    10**400,
    float("inf"),
    float("nan"),
    1e308,
    "",
    " ",
    "x" * 5000,
    "\u2028",
    "../" * 100,
    [],
    [[]],
    {},
    {"": {}},
    {"a": None},
    dt.date(2026, 1, 31),
)


def places(value, place=()):
    """Return the place of every value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*place, key)
        if isinstance(each, dict | list):
            yield from places(each, (*place, key))


def test_no_value_anywhere_is_more_than_a_configuration_error():
    file = CONFIGS / "gateway.production.yaml"
    shipped = yaml.safe_load(file.read_text(encoding="utf-8"))
    accepted = 0
    for place in [*places(shipped), ("traces",), ("outcomes",), ("stub",), ("cache",)]:
        for value in NASTY:
            document = copy.deepcopy(shipped)
            holder = document
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
            try:
                validated(Document(file, document, {}), GatewayConfig)
                accepted += 1
            except ConfigError as error:
                assert "\n" not in error.message  # noqa: PT017  (most of them are refused)
    assert accepted > 10


class _Listed(Strict):
    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2)] = ()
    few: Annotated[tuple[int, ...], Field(max_length=1)] = ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("names: []", "line 1: names: is empty; it needs at least 2"),
        ("names: [ab]", "line 1: names: has only 1; it needs at least 2"),
        ("names: [ab, '']", "line 1: names.1: is empty; it needs at least 1"),
        ("few: [1, 2]", "line 1: few: has 2; it may have at most 1"),
    ],
)
def test_a_list_of_the_wrong_length_is_one_mistake_that_is_told(tmp_path, text, told):
    file = tmp_path / "some.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        parse_file(file, _Listed)
    assert str(caught.value) == f"{file}: {told}"
