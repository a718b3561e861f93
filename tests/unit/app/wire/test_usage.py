import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.usage import ToldUsage, Usage, UsagePart
from app.wire.usage import usage_object, with_usage
from app.wire.usage_records import read_usage
from app.wire.usual_usage import MAX_TOKENS


def read(record):
    return read_usage(record if isinstance(record, bytes) else json.dumps(record).encode())


def booked(record):
    """Return what is accounted for these counts, beside estimates of 7 and 8."""
    return read(record).filled(input_tokens=7, output_tokens=8)


def counts(input_tokens, output_tokens, *, cached=0, reasoning=0, estimated=False, to_cache=(0, 0)):
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        reasoning_tokens=reasoning,
        cache_write_tokens=to_cache[0],
        cache_write_1h_tokens=to_cache[1],
        estimated=estimated,
    )


def thinking(given, written, reasoning, **more):
    """Return a record that tells reasoning among its details."""
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {"prompt_tokens": given, "completion_tokens": written, **more, **details}


OPENAI = {
    "prompt_tokens": 30,
    "completion_tokens": 40,
    "total_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 10},
}


@pytest.mark.parametrize(
    ("record", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, counts(3, 4)),
        (OPENAI, counts(30, 40, cached=20, reasoning=10)),
        # Grok counts reasoning beside what it wrote, with a total that says so and without one.
        (
            thinking(32, 9, 94, total_tokens=135, prompt_tokens_details={"cached_tokens": 6}),
            counts(32, 103, cached=6, reasoning=94),
        ),
        (thinking(32, 9, 94), counts(32, 103, reasoning=94)),
        (thinking(10120, 3499, 2809, total_tokens=16428), counts(10120, 6308, reasoning=2809)),
        # Gemini's compatible endpoint tells its thoughts in the total alone.
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, counts(20, 603)),
        ({"prompt_tokens": 20, "total_tokens": 50}, counts(20, 30)),
        ({"prompt_tokens": 0, "completion_tokens": 20, "total_tokens": 50}, counts(30, 20)),
        (
            {
                "promptTokenCount": 100,
                "candidatesTokenCount": 10,
                "thoughtsTokenCount": 30,
                "toolUsePromptTokenCount": 5,
                "cachedContentTokenCount": 50,
                "totalTokenCount": 145,
            },
            counts(105, 40, cached=50, reasoning=30),
        ),
        ({"promptTokenCount": 100, "thoughtsTokenCount": 30}, counts(100, 30, reasoning=30)),
        # DeepSeek, Moonshot and Mistral have their own names of a cache's hits.
        (
            {"prompt_tokens": 1000, "completion_tokens": 50, "prompt_cache_hit_tokens": 900},
            counts(1000, 50, cached=900),
        ),
        (
            {"prompt_tokens": 1000, "completion_tokens": 50, "cached_tokens": 900},
            counts(1000, 50, cached=900),
        ),
        (
            {
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 0},
                "num_cached_tokens": 900,
            },
            counts(1000, 50, cached=900),
        ),
        # OpenAI's responses have the cache inside of the input, Anthropic and Bedrock beside it.
        (
            {
                "input_tokens": 100,
                "output_tokens": 20,
                "total_tokens": 120,
                "input_tokens_details": {"cached_tokens": 60},
                "output_tokens_details": {"reasoning_tokens": 5},
            },
            counts(100, 20, cached=60, reasoning=5),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 20,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
            },
            counts(100, 20, cached=60, to_cache=(30, 0)),
        ),
        (
            {
                "inputTokens": 10,
                "outputTokens": 20,
                "cacheReadInputTokens": 60,
                "cacheWriteInputTokens": 30,
                "totalTokens": 120,
            },
            counts(100, 20, cached=60, to_cache=(30, 0)),
        ),
        (  # LiteLLM adds Anthropic's names to OpenAI's, which hold them
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "cache_read_input_tokens": 60,
            },
            counts(100, 20, cached=60),
        ),
        (  # and other relays leave the cache out of the prompt, but not of the total
            {
                "prompt_tokens": 40,
                "completion_tokens": 20,
                "total_tokens": 120,
                "cache_read_input_tokens": 60,
            },
            counts(100, 20, cached=60),
        ),
        (  # or of both: a prompt cannot be smaller than what of it was read from a cache
            {
                "prompt_tokens": 10,
                "completion_tokens": 20,
                "total_tokens": 30,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
            },
            counts(100, 20, cached=60, to_cache=(30, 0)),
        ),
        (  # what Anthropic wrote for minutes, and for an hour
            {
                "input_tokens": 10,
                "output_tokens": 20,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 10,
                },
            },
            counts(100, 20, cached=60, to_cache=(30, 10)),
        ),
        (  # Bedrock's way of that
            {
                "inputTokens": 10,
                "outputTokens": 20,
                "cacheWriteInputTokens": 30,
                "cacheDetails": [
                    {"ttl": "1h", "inputTokens": 12},
                    {"ttl": "5m", "inputTokens": 18},
                    "odd",
                ],
            },
            counts(40, 20, to_cache=(30, 12)),
        ),
        (  # OpenAI's writes are a part of the prompt
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            },
            counts(100, 20, cached=60, to_cache=(30, 0)),
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 20,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 50},
            },
            counts(100, 20, cached=60, to_cache=(40, 0)),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 30},
            },
            counts(100, 20, cached=60, to_cache=(30, 0)),
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_creation_input_tokens": "odd"},
            counts(5, 2),
        ),
        ({"billed_units": {"input_tokens": 3, "output_tokens": 4}}, counts(3, 4)),
        ({"prompt_eval_count": 26, "eval_count": 298}, counts(26, 298)),
        # Floats, strings, and what JSON does not have.
        ({"prompt_tokens": 12.0, "completion_tokens": 14417.2}, counts(12, 14418)),
        ({"prompt_tokens": "12", "completion_tokens": " 5.0 "}, counts(12, 5)),
        (b'{"prompt_tokens":12,"completion_tokens":5,"cost":NaN}', counts(12, 5)),
        # What is odd costs its own part alone.
        ({"prompt_tokens": "twelve", "completion_tokens": 5}, counts(7, 5, estimated=True)),
        ({"prompt_tokens": 12, "completion_tokens": None}, counts(12, 8, estimated=True)),
        ({"completion_tokens": 5}, counts(7, 5, estimated=True)),
        ({"prompt_tokens": -12, "completion_tokens": 5}, counts(7, 5, estimated=True)),
        ({"prompt_tokens": 2**64 - 1, "completion_tokens": 5}, counts(7, 5, estimated=True)),
        ({"prompt_tokens": True, "completion_tokens": 5}, counts(7, 5, estimated=True)),
        ({"prompt_tokens": 12, "completion_tokens": [5]}, counts(12, 8, estimated=True)),
        (b'{"prompt_tokens":12,"completion_tokens":Infinity}', counts(12, 8, estimated=True)),
        (b'{"prompt_tokens":12,"completion_tokens":1e999}', counts(12, 8, estimated=True)),
        (
            b'{"prompt_tokens":12,"completion_tokens":%b}' % (b"9" * 9000),
            counts(12, 8, estimated=1),
        ),
        ({**OPENAI, "prompt_tokens_details": 5}, counts(30, 40, reasoning=10)),
        ({**OPENAI, "prompt_tokens_details": {"cached_tokens": -1}}, counts(30, 40, reasoning=10)),
        ({**OPENAI, "total_tokens": "many"}, counts(30, 40, cached=20, reasoning=10)),
        # Contradictions: a part is never more than the whole.
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 5},
            },
            counts(3, 4, cached=3),
        ),
        (thinking(3, 4, 5, total_tokens=7), counts(3, 4, reasoning=4)),
        # Servers that do not count say 0.
        (
            {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            counts(7, 8, estimated=1),
        ),
    ],
)
def test_counts_are_read_part_by_part_in_every_dialect(record, usage):
    assert booked(record) == usage


@pytest.mark.parametrize(
    "record", [b"null", b"[]", b"5", b'"many"', b"true", b"{}", b'{"cost":0.1}', b"{", b"\xff", b""]
)
def test_what_tells_no_counts_is_no_usage(record):
    assert read_usage(record) is None


COUNTS = st.integers(0, 40)
ODD_COUNTS = st.sampled_from([None, -1, 2.5, "3", MAX_TOKENS])
ONE_OR_ODD = COUNTS | COUNTS | ODD_COUNTS
RECORDS = st.fixed_dictionaries(
    {"input_tokens": ONE_OR_ODD, "output_tokens": COUNTS},
    optional={
        "input_tokens_details": st.fixed_dictionaries({"cached_tokens": ONE_OR_ODD}),
        "output_tokens_details": st.dictionaries(
            st.sampled_from(["reasoning_tokens", "thinking_tokens"]), ONE_OR_ODD
        ),
        "cache_read_input_tokens": ONE_OR_ODD,
        "cache_creation_input_tokens": ONE_OR_ODD,
    },
)
MORE = st.dictionaries(
    st.sampled_from(["total_tokens", "cached_tokens", "reasoning_tokens", "completion_tokens"]),
    ONE_OR_ODD,
    max_size=1,
)


@given(RECORDS, MORE, st.booleans())
@settings(max_examples=200)
def test_a_glance_at_a_record_of_responses_or_messages_tells_what_reading_it_does(
    record, more, with_total
):
    record = {**record, **more}
    if with_total and isinstance(record["input_tokens"], int):
        record["total_tokens"] = record["input_tokens"] + record["output_tokens"]
    # What is empty tells nothing, and is not left to a glance.
    assert read(record) == read({**record, "num_cached_tokens": ""})


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"prompt_tokens": -1, "completion_tokens": 5}, {UsagePart.INPUT}),
        ({"prompt_tokens": 5, "completion_tokens": MAX_TOKENS + 1}, {UsagePart.OUTPUT}),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 0.5},
            },
            set(),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 5, "cached_tokens": -5, "total_tokens": -1},
            {UsagePart.CACHED_INPUT, UsagePart.TOTAL},
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": MAX_TOKENS,
                "completion_tokens_details": {"reasoning_tokens": "lots"},
            },
            {UsagePart.REASONING},
        ),
        (
            {"promptTokenCount": 5, "candidatesTokenCount": MAX_TOKENS, "thoughtsTokenCount": 1},
            {UsagePart.OUTPUT},
        ),
        ({"prompt_tokens": "x", "input_tokens": 5}, set()),
    ],
)
def test_refused_parts_are_named(record, parts):
    assert read(record).refused == parts


def test_the_last_told_count_wins_and_zeros_erase_nothing():
    told = read({"prompt_tokens": 100, "completion_tokens": 0})
    told = told.updated(read({"prompt_tokens": 0, "completion_tokens": 50, "cached_tokens": 10}))
    told = told.updated(read({"completion_tokens": 40, "prompt_tokens": -1, "cached_tokens": 0}))
    assert told == ToldUsage(
        input_tokens=100,
        output_tokens=40,
        cached_input_tokens=10,
        refused=frozenset({UsagePart.INPUT}),
    )


def test_a_usage_that_agrees_is_told_as_it_came():
    body = b'{"id": 1, "usage": {"prompt_tokens":3, "completion_tokens" : 4, "vendor": 1e400}}'
    assert with_usage(body, counts(3, 4)) is body


@pytest.mark.parametrize(
    ("upstreams", "usage", "told"),
    [
        (
            None,
            counts(7, 8, estimated=True),
            {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15, "estimated": True},
        ),
        (
            b"5",
            counts(7, 8, estimated=True),
            {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15, "estimated": True},
        ),
        (
            (
                b'{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"num_sources_used":2,'
                b'"completion_tokens_details":{"reasoning_tokens":94,"audio_tokens":0}}'
            ),
            counts(32, 103, reasoning=94),
            {
                "prompt_tokens": 32,
                "completion_tokens": 103,
                "total_tokens": 135,
                "num_sources_used": 2,
                "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
            },
        ),
        (
            (
                b'{"prompt_tokens":1000,"completion_tokens":50,"prompt_cache_hit_tokens":900,'
                b'"completion_tokens_details":"none"}'
            ),
            counts(1000, 50, cached=900),
            {
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "total_tokens": 1050,
                "prompt_cache_hit_tokens": 900,
                "prompt_tokens_details": {"cached_tokens": 900},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        ),
    ],
)
def test_clients_are_told_what_is_booked_in_openais_words(upstreams, usage, told):
    body = b'{"id":"a"%b}' % (b"" if upstreams is None else b',"usage":' + upstreams)
    assert json.loads(with_usage(body, usage)) == {"id": "a", "usage": told}
    costed = json.loads(with_usage(body, usage, cost_usd=0.5))["usage"]
    assert costed == {**told, "cost_usd": 0.5}


def test_a_usage_that_nobody_remembers_is_told_as_it_is():
    assert usage_object(b'{"prompt_tokens":3}', None, cost_usd=0.0).keys() == {
        "prompt_tokens",
        "cost_usd",
    }
    assert usage_object(b'"odd"', None) == {}


def test_what_is_no_object_has_no_usage_to_repair():
    assert with_usage(b"plain", counts(3, 4)) == b"plain"


SOUND = {
    "chat": {
        "prompt_tokens": 30,
        "completion_tokens": 40,
        "total_tokens": 70,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 9},
    },
    "transcription": {
        "type": "tokens",
        "input_tokens": 30,
        "output_tokens": 40,
        "total_tokens": 70,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 20},
        "output_token_details": {"text_tokens": 31, "audio_tokens": 9},
    },
    "gemini": {
        "promptTokenCount": 30,
        "candidatesTokenCount": 40,
        "totalTokenCount": 70,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "AUDIO", "tokenCount": 12},
            {"modality": "AUDIO", "tokenCount": 8},
        ],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}],
    },
    "gemini in Python": {
        "prompt_token_count": 30,
        "candidates_token_count": 40,
        "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 20}, None, 3],
        "candidates_tokens_details": [
            {"modality": "AUDIO", "token_count": 9},
            {"modality": "AUDIO", "token_count": -1},
            {"modality": "AUDIO"},
        ],
    },
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_is_told_in_each_dialect(name):
    usage = booked(SOUND[name])
    assert (usage.input_tokens, usage.output_tokens) == (30, 40)
    assert (usage.audio_input_tokens, usage.audio_output_tokens) == (20, 9)
    assert not usage.estimated


@pytest.mark.parametrize(("heard", "spoken"), [(None, None), (0, 0), ({}, []), ("", "")])
def test_a_record_without_sound_tells_none(heard, spoken):
    record = {
        **SOUND["chat"],
        "prompt_tokens_details": {"audio_tokens": heard},
        "completion_tokens_details": {"audio_tokens": spoken},
    }
    usage = booked(record)
    assert (usage.audio_input_tokens, usage.audio_output_tokens) == (0, 0)


def test_no_more_is_sound_than_there_is_beside_the_cache():
    record = {
        **SOUND["chat"],
        "prompt_tokens_details": {"cached_tokens": 25, "audio_tokens": 20},
        "completion_tokens_details": {"audio_tokens": 50},
    }
    usage = booked(record)
    assert (usage.cached_input_tokens, usage.audio_input_tokens) == (25, 5)
    assert usage.audio_output_tokens == 40


def test_a_record_that_tells_sound_passes_unchanged():
    body = json.dumps({"choices": [], "usage": SOUND["chat"]}).encode()
    assert with_usage(body, booked(SOUND["chat"])) is body
