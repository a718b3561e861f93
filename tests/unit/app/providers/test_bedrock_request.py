import json

import pytest

from app.errors import UpstreamUnsupportedError
from app.providers.converse.request import encode_converse_request

HI = [{"role": "user", "content": "hi"}]
PNG = "data:image/jpeg;base64,iVBORw0KGgo="
CLAUDE, NOVA = "us.anthropic.claude-sonnet-5-5", "amazon.nova-2-lite-v1:0"
WEIGH = {
    "type": "function",
    "function": {
        "name": "weigh",
        "description": "Weigh an item.",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
        "strict": True,
    },
}
BARE = {"type": "function", "function": {"name": "list_scales"}}
LOOP = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "weigh lead"},
    {
        "role": "assistant",
        "content": None,
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hm", "signature": "seal"},
            {"type": "thinking", "thinking": "unsealed"},
            {"type": "redacted_thinking", "data": "aGlk"},
        ],
        "tool_calls": [
            {
                "id": "a",
                "type": "function",
                "function": {"name": "weigh", "arguments": '{"item":"lead"}'},
            },
            {"id": "b", "type": "function", "function": {"name": "weigh", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": "2 kg"},
    {"role": "user", "content": "and?"},
]


def translated(*, messages: object = HI, model: str = CLAUDE, **fields: object) -> dict:
    encoded = {
        key: json.dumps(value).encode() for key, value in {"messages": messages, **fields}.items()
    }
    return json.loads(encode_converse_request(encoded, model=model))


def blocks(*content: object) -> list[dict]:
    (turn,) = translated(messages=[{"role": "user", "content": list(content)}])["messages"]
    return turn["content"]


def refused(**fields: object) -> UpstreamUnsupportedError:
    with pytest.raises(UpstreamUnsupportedError) as raised:
        translated(**fields)
    assert raised.value.retryable
    assert not raised.value.sent
    return raised.value


def test_the_smallest_request():
    assert translated() == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_a_whole_tool_loop():
    body = translated(messages=LOOP, tools=[WEIGH, BARE], tool_choice="required")
    assert body["system"] == [{"text": "Be brief."}]
    _, assistant, results = body["messages"]
    assert assistant["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "seal"}}},
        {"reasoningContent": {"redactedContent": "aGlk"}},
        {"toolUse": {"toolUseId": "a", "name": "weigh", "input": {"item": "lead"}}},
        {"toolUse": {"toolUseId": "b", "name": "weigh", "input": {}}},
    ]
    first, second, said = results["content"]
    assert first == {"toolResult": {"toolUseId": "a", "content": [{"text": "2 kg"}]}}
    assert second["toolResult"]["status"] == "error"
    assert said == {"text": "and?"}
    assert body["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "weigh",
                    "description": "Weigh an item.",
                    "inputSchema": {"json": WEIGH["function"]["parameters"]},
                    "strict": True,
                }
            },
            {
                "toolSpec": {
                    "name": "list_scales",
                    "inputSchema": {"json": {"type": "object", "properties": {}}},
                }
            },
        ],
        "toolChoice": {"any": {}},
    }


@pytest.mark.parametrize("fields", [{}, {"tools": [WEIGH], "tool_choice": "none"}])
def test_without_tools_their_history_is_told_in_words(fields):
    body = translated(messages=LOOP, **fields)
    assert "toolConfig" not in body
    told = [block for turn in body["messages"] for block in turn["content"]]
    assert not any("toolUse" in block or "toolResult" in block for block in told)
    assert {"text": '[Called the tool weigh with {"item":"lead"}]'} in told
    assert {"text": "2 kg"} in told


def test_media():
    assert blocks(
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": "s3://bucket/scale.jpg"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a/b.pdf"},
        },
    ) == [
        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/scale.jpg"}}}},
        {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}},
        {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "JVBERi0="}}},
        {"text": "(The documents are attached.)"},
    ]


def test_marks_of_the_cache_stand_behind_what_they_mark():
    mark = {"type": "ephemeral"}
    messages = [
        {"role": "system", "content": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
    ]
    body = translated(messages=messages, tools=[{**WEIGH, "cache_control": mark}])
    assert body["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    assert body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}


def test_sampling_and_limits():
    fields = {"max_tokens": 7, "temperature": 1.5, "top_p": 0.9, "stop": ["END"], "user": "ada"}
    told = {"maxTokens": 7, "topP": 0.9, "stopSequences": ["END"]}
    assert translated(**fields)["inferenceConfig"] == told
    assert translated(model=NOVA, **fields)["inferenceConfig"] == {**told, "temperature": 1}
    assert translated(top_k=5)["additionalModelRequestFields"] == {"top_k": 5}


def test_structured_output():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    told = translated(response_format=wanted)["outputConfig"]["textFormat"]
    assert told["type"] == "json_schema"
    assert told["structure"]["jsonSchema"]["name"] == "n"
    assert json.loads(told["structure"]["jsonSchema"]["schema"]) == schema


def test_json_is_asked_for_in_words():
    body = translated(response_format={"type": "json_object"})
    assert "one JSON object" in body["system"][-1]["text"]
    assert "outputConfig" not in body


def test_thinking_in_the_words_of_each_family():
    claude = translated(reasoning_effort="high", temperature=0.2)
    assert claude["outputConfig"] == {"effort": "high"}
    assert claude["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    assert "inferenceConfig" not in claude
    budget = {"type": "enabled", "budget_tokens": 2000}
    assert translated(thinking=budget)["additionalModelRequestFields"] == {"thinking": budget}
    nova = translated(model=NOVA, reasoning_effort="low")
    assert nova["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}
    }
    gpt = translated(model="openai.gpt-oss-120b-1:0", reasoning_effort="low")
    assert gpt["additionalModelRequestFields"] == {"reasoning_effort": "low"}


def test_converses_own_fields_pass_as_they_are():
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"}
    assert translated(guardrailConfig=guardrail)["guardrailConfig"] == guardrail
    own = {"additionalModelRequestFields": {"x": 1}}
    assert translated(**own) == {**translated(), **own}
    assert translated(service_tier="flex")["serviceTier"] == {"type": "flex"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"something_new": 1}, "something_new"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"model": NOVA, "top_k": 4}, "top_k"),
        ({"model": NOVA, "thinking": {"type": "enabled"}}, "thinking"),
        ({"model": "meta.llama", "reasoning_effort": "low"}, "reasoning_effort"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools"),
        ({"tools": [BARE], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": "https://a.test/x.png"}],
                    }
                ]
            },
            "messages",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(fields, param):
    assert refused(**fields).param == param
