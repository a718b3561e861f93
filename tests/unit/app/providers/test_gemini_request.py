import json

import pytest

from app.errors import UpstreamUnsupportedError
from app.providers.generate_content.request import encode_generate_request
from app.providers.generate_content.turns import SKIP_VALIDATION

HI = [{"role": "user", "content": "hi"}]
PNG = "data:image/jpeg;base64,iVBORw0KGgo="
WEIGH = {
    "type": "function",
    "function": {
        "name": "weigh",
        "description": "Weigh an item.",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}},
            "additionalProperties": False,
        },
        "strict": True,
    },
}
BARE = {"type": "function", "function": {"name": "list_scales"}}


def translated(*, messages: object = HI, model: str = "gemini-3-pro", **fields: object) -> dict:
    encoded = {
        key: json.dumps(value).encode() for key, value in {"messages": messages, **fields}.items()
    }
    return json.loads(encode_generate_request(encoded, model=model))


def config(**fields: object) -> dict:
    return translated(**fields).get("generationConfig", {})


def parts(*content: object) -> list[dict]:
    (turn,) = translated(messages=[{"role": "user", "content": list(content)}])["contents"]
    return turn["parts"]


def refused(**fields: object) -> UpstreamUnsupportedError:
    with pytest.raises(UpstreamUnsupportedError) as raised:
        translated(**fields)
    assert raised.value.retryable
    assert not raised.value.sent
    return raised.value


def test_the_smallest_request():
    assert translated() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_a_whole_tool_loop_comes_back_sealed_and_complete():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weigh lead and tin"},
        {
            "role": "assistant",
            "content": "Two calls.",
            "extra_content": {"google": {"thought_signature": "text-seal"}},
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "weigh", "arguments": '{"item":"lead"}'},
                    "extra_content": {"google": {"thought_signature": "call-seal"}},
                },
                {
                    "id": "b",
                    "type": "function",
                    "function": {"name": "weigh", "arguments": '{"item":"tin"}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "1 kg"},
        {"role": "tool", "tool_call_id": "a", "content": "2 kg"},
        {"role": "user", "content": "and?"},
    ]
    body = translated(messages=messages, tools=[WEIGH, BARE], tool_choice="required")
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    _, model, results = body["contents"]
    assert model == {
        "role": "model",
        "parts": [
            {"text": "Two calls."},
            {"text": "", "thoughtSignature": "text-seal"},
            {
                "functionCall": {"id": "a", "name": "weigh", "args": {"item": "lead"}},
                "thoughtSignature": "call-seal",
            },
            {"functionCall": {"id": "b", "name": "weigh", "args": {"item": "tin"}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "a", "name": "weigh", "response": {"output": "2 kg"}}},
            {"functionResponse": {"id": "b", "name": "weigh", "response": {"output": "1 kg"}}},
            {"text": "and?"},
        ],
    }
    (tool,) = body["tools"]
    assert tool["functionDeclarations"] == [
        {
            "name": "weigh",
            "description": "Weigh an item.",
            "parametersJsonSchema": WEIGH["function"]["parameters"],
        },
        {"name": "list_scales"},
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


UNSEALED = [
    *HI,
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "one"}]},
]


def test_calls_of_other_models_pass_where_signatures_are_checked():
    _, model, _ = translated(messages=UNSEALED)["contents"]
    assert [part.get("thoughtSignature") for part in model["parts"]] == [SKIP_VALIDATION, None]
    _, model, _ = translated(messages=UNSEALED, model="gemini-2.5-flash")["contents"]
    assert not any("thoughtSignature" in part for part in model["parts"])


def test_a_call_without_a_result_gets_one():
    *_, results = translated(messages=UNSEALED)["contents"]
    responses = [part["functionResponse"]["response"] for part in results["parts"]]
    assert responses[0] == {"output": "one"}
    assert "not carried out" in responses[1]["error"]


def test_pictures_in_results_follow_the_results():
    messages = [
        *UNSEALED[:2],
        {
            "role": "tool",
            "tool_call_id": "1",
            "content": [
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "text", "text": "seen"},
            ],
        },
        {"role": "tool", "tool_call_id": "2", "content": "two"},
    ]
    *_, results = translated(messages=messages)["contents"]
    assert [next(iter(part)) for part in results["parts"]] == [
        "functionResponse",
        "functionResponse",
        "inlineData",
    ]


def picture(detail=None):
    image = {"url": PNG} if detail is None else {"url": PNG, "detail": detail}
    return {"type": "image_url", "image_url": image}


PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}


@pytest.mark.parametrize(
    ("content", "level"),
    [
        ([picture("low")], "MEDIA_RESOLUTION_LOW"),
        ([picture("high")], "MEDIA_RESOLUTION_HIGH"),
        ([picture("original")], "MEDIA_RESOLUTION_HIGH"),
        ([picture("low"), picture("high")], "MEDIA_RESOLUTION_HIGH"),
        ([picture("low"), picture()], None),
        ([picture("low"), picture("auto")], None),
        ([picture("low"), PDF], None),
        ([picture()], None),
        ([{"type": "text", "text": 'They say "detail": "low".'}], None),
    ],
    ids=["low", "high", "original", "the-closer", "one-open", "auto", "a-file", "none", "in-words"],
)
def test_the_detail_of_pictures_is_a_level_for_the_whole_request(content, level):
    body = translated(messages=[{"role": "user", "content": content}])
    assert body.get("generationConfig", {}).get("mediaResolution") == level


def test_media():
    address = "https://a.test/scale.webp?x=1"
    assert parts(
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "image_url", "image_url": "gs://bucket/scale"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ) == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"mimeType": "image/webp", "fileUri": address}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/scale"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
    ]


def test_sampling_and_limits():
    assert config(
        max_tokens=7,
        temperature=1.5,
        top_p=0.9,
        top_k=3,
        seed=4,
        stop="END",
        presence_penalty=0,
        frequency_penalty=0.5,
        logprobs=False,
        n=1,
        user="ada",
    ) == {
        "maxOutputTokens": 7,
        "temperature": 1.5,
        "topP": 0.9,
        "topK": 3,
        "seed": 4,
        "frequencyPenalty": 0.5,
        "stopSequences": ["END"],
    }


def test_structured_output():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "$defs": {}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert config(response_format=wanted) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    wanted = {"type": "json_object"}
    assert config(response_format=wanted) == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("model", "fields", "told"),
    [
        ("gemini-3-pro", {"reasoning_effort": "low"}, {"thinkingLevel": "low"}),
        ("gemini-3-pro", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "high"}),
        ("gemini-2.5-flash", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192}),
        (
            "gemini-2.5-flash",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"thinkingBudget": 2000},
        ),
        ("gemini-3-pro", {"thinking": {"type": "adaptive"}}, {}),
    ],
)
def test_thinking_is_asked_for_and_shown(model, fields, told):
    assert config(model=model, **fields)["thinkingConfig"] == {"includeThoughts": True, **told}


def test_thinking_is_turned_off_where_it_can_be():
    off = {"reasoning_effort": "none"}
    assert config(model="gemini-2.5-flash", **off)["thinkingConfig"] == {"thinkingBudget": 0}
    assert config(model="gemini-3-flash", **off)["thinkingConfig"] == {"thinkingLevel": "minimal"}
    off = {"thinking": {"type": "disabled"}}
    assert config(model="gemini-2.5-flash", **off)["thinkingConfig"] == {"thinkingBudget": 0}


def test_what_clients_of_googles_own_compatible_api_send():
    own = {"google": {"thinking_config": {"thinking_budget": 9, "include_thoughts": True}}}
    told = config(extra_body=own, reasoning_effort="low")["thinkingConfig"]
    assert told == {"thinkingBudget": 9, "includeThoughts": True}
    own = {"google": {"cached_content": "cachedContents/1"}}
    assert translated(extra_body=own)["cachedContent"] == "cachedContents/1"
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert translated(safety_settings=settings)["safetySettings"] == settings


def test_choices_of_tools():
    def calling(choice: object) -> dict | None:
        body = translated(tools=[WEIGH, BARE], tool_choice=choice)
        return body.get("toolConfig", {}).get("functionCallingConfig")

    assert calling("auto") == {"mode": "AUTO"}
    assert calling("none") == {"mode": "NONE"}
    one = {"type": "function", "function": {"name": "weigh"}}
    assert calling(one) == {"mode": "ANY", "allowedFunctionNames": ["weigh"]}
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [one]}}
    assert calling(some) == {"mode": "VALIDATED", "allowedFunctionNames": ["weigh"]}
    some["allowed_tools"]["mode"] = "required"
    assert calling(some) == {"mode": "ANY", "allowedFunctionNames": ["weigh"]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"something_new": 1}, "something_new"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"reasoning_effort": "utmost"}, "reasoning_effort"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "1 2"}}]}, "tools"),
        ({"tools": [BARE], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [BARE], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"extra_body": {"google": {"unknown": 1}}}, "extra_body"),
        ({"extra_body": 7}, "extra_body"),
        ({"messages": [{"role": "user", "content": [{"type": "odd"}]}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages",
        ),
        ({"messages": [{"role": "system", "content": "  "}]}, "messages"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(fields, param):
    assert refused(**fields).param == param
