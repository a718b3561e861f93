"""The endpoints of the simulated upstream beside chat, through OpenAI's own client."""

import base64
import io
import json
import math
import struct
import wave

import httpx
import openai
import pydantic
import pytest

from app.stub.faults import Fault, FaultKind
from app.stub.server import StubServer

MODEL = "sim-nano"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": CITY,
    "strict": True,
}
RIVERS = "How do rivers form?"


@pytest.fixture
async def stub():
    async with StubServer(speed=0) as server:
        yield server


@pytest.fixture
async def client(stub):
    async with openai.AsyncOpenAI(base_url=stub.base_url, api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture
async def http(stub):
    origin = stub.base_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=origin, trust_env=False) as made:
        yield made


async def streamed(client, **asked):
    """Return the events of a stream that the SDK's own accumulator has checked, and the answer."""
    async with client.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        return events, events[-1].response


ASKED = {
    "text": {"input": RIVERS},
    "thought": {
        "model": "sim-large",
        "input": RIVERS,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
    "thought unseen": {"model": "sim-large", "input": RIVERS, "reasoning": {"effort": "low"}},
    "calls": {"input": "weather in Paris and Rome?", "tools": [WEATHER]},
    "custom": {"input": "use run_code on `1+1`", "tools": [{"type": "custom", "name": "run_code"}]},
    "cut": {"input": RIVERS, "max_output_tokens": 16},
}
ITEMS = {
    "text": ["message"],
    "thought": ["reasoning", "message"],
    "thought unseen": ["reasoning", "message"],
    "calls": ["function_call", "function_call"],
    "custom": ["custom_tool_call"],
    "cut": ["message"],
}


@pytest.mark.parametrize("case", ASKED)
async def test_responses_are_the_same_whole_and_streamed(client, case):
    asked = {"model": MODEL, **ASKED[case]}
    whole = await client.responses.create(**asked)
    events, final = await streamed(client, **asked)
    assert [item.type for item in whole.output] == ITEMS[case]
    own = {"id", "call_id"}

    def told(response):
        return [
            item.model_dump(exclude=own | {"parsed", "parsed_arguments"})
            for item in response.output
        ]

    def plain(items):  # the accumulator adds what it parsed
        text = json.dumps(items, sort_keys=True)
        return text.replace(', "parsed": null', "").replace('"parsed": null, ', "")

    assert plain(told(whole)) == plain(told(final))
    assert whole.usage == final.usage
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    assert events[0].type == "response.created"
    assert final.status == whole.status == ("incomplete" if case == "cut" else "completed")
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


async def test_every_event_stands_in_its_place(http):
    body = {"model": "sim-large", "input": RIVERS, "stream": True, "max_output_tokens": 40}
    body["reasoning"] = {"effort": "minimal", "summary": "auto"}
    text = (await http.post("/v1/responses", json=body)).text
    framed = [each.split("\n") for each in text.removesuffix("\n\n").split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in framed]
    assert [name.removeprefix("event: ") for name, _ in framed] == [e["type"] for e in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "incomplete",
    ]
    assert kinds.count("output_text.delta") == 32
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_thought_is_told_as_far_as_it_is_asked_for(client):
    answer = await client.responses.create(**ASKED["thought"])
    thought = answer.output[0]
    assert answer.usage.output_tokens_details.reasoning_tokens == 24
    assert len(thought.summary[0].text.split()) == 24
    assert thought.encrypted_content.startswith("simulated-")
    unseen = await client.responses.create(**ASKED["thought unseen"])
    assert unseen.output[0].summary == []
    assert unseen.usage.output_tokens_details.reasoning_tokens == 24


async def test_a_tool_loop_over_responses_comes_to_its_end(client):
    items = [{"role": "user", "content": "What's the weather in Paris and Rome?"}]
    first = await client.responses.create(model=MODEL, input=items, tools=[WEATHER])
    assert [json.loads(call.arguments)["city"] for call in first.output] == ["Paris", "Rome"]
    items += [call.model_dump(exclude_none=True) for call in first.output]
    items += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny {i}"}
        for i, call in enumerate(first.output)
    ]
    second = await client.responses.create(model=MODEL, input=items, tools=[WEATHER])
    assert "The tools answered: “sunny 0”, “sunny 1”." in second.output_text


class Person(pydantic.BaseModel):
    name: str
    age: int


async def test_structured_outputs_are_parsed(client):
    parsed = await client.responses.parse(
        model=MODEL, input="Jason is 25 years old", text_format=Person
    )
    assert parsed.output_parsed == Person(name="Jason", age=25)
    told = await client.responses.create(
        model=MODEL,
        input=[{"role": "user", "content": [{"type": "input_text", "text": "keys: name, age"}]}],
        instructions="Answer in JSON",
        text={"format": {"type": "json_object"}},
    )
    assert set(json.loads(told.output_text)) == {"name", "age"}


async def test_namespaces_are_told_with_their_calls(http):
    tools = [{"type": "namespace", "name": "crm", "tools": [WEATHER]}, {"type": "web_search"}]
    body = {"model": MODEL, "input": "weather in Paris?", "tools": tools}
    (call,) = (await http.post("/v1/responses", json=body)).json()["output"]
    assert (call["namespace"], call["name"]) == ("crm", "get_weather")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"model": MODEL}, "'input'"),
        ({"model": MODEL, "input": []}, "'input'"),
        ({"model": MODEL, "input": "x", "max_output_tokens": 15}, "at least 16"),
        ({"model": MODEL, "input": "x", "previous_response_id": "resp_1"}, "resp_1"),
        ({"model": MODEL, "input": "x", "tools": [WEATHER, WEATHER]}, "unique"),
        (
            {
                "model": MODEL,
                "input": [
                    {"type": "function_call", "call_id": "c9", "name": "f", "arguments": "{}"}
                ],
            },
            "No tool output found for function call c9.",
        ),
        (
            {
                "model": MODEL,
                "input": [{"type": "function_call_output", "call_id": "c", "output": ""}],
            },
            "No tool call found",
        ),
        ({"model": MODEL, "input": [5]}, "could not make sense"),
        ({"model": MODEL, "input": [{"type": "message"}]}, "could not make sense"),
        ({"model": "gpt-7", "input": "x"}, "does not exist"),
    ],
)
async def test_responses_refuse_what_the_real_api_refuses(http, body, told):
    response = await http.post("/v1/responses", json=body)
    assert response.status_code == (404 if body["model"] == "gpt-7" else 400)
    error = response.json()["error"]
    assert told in error["message"]
    codes = {"resp_1": "previous_response_not_found", "does not exist": "model_not_found"}
    assert error["code"] == codes.get(told)


async def test_failures_strike_in_the_dialect_of_the_path(stub, client, http):
    stub.faults.add(Fault(fault=FaultKind.ERROR_EVENT, code="server_error", after_chunks=5))
    *_, last = [
        e async for e in await client.responses.create(model=MODEL, input=RIVERS, stream=True)
    ]
    assert (last.type, last.code, last.sequence_number) == ("error", "server_error", 5)
    stub.faults.add(Fault(fault=FaultKind.END_WITHOUT_DONE))
    body = {"model": MODEL, "input": RIVERS, "stream": True}
    assert "response.completed" not in (await http.post("/v1/responses", json=body)).text
    stub.faults.add(Fault(fault=FaultKind.NO_USAGE))
    answer = (await http.post("/v1/responses", json=body | {"stream": False})).json()
    assert answer["usage"] is None


# --- completions -----------------------------------------------------------------------------


async def test_completions_of_several_prompts_are_numbered_by_prompt(client):
    whole = await client.completions.create(
        model=MODEL, prompt=["one", "two"], n=2, max_tokens=40, echo=True, logprobs=2
    )
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in whole.choices] == ["one", "one", "two", "two"]
    for choice in whole.choices:
        told = choice.logprobs
        assert "".join(told.tokens) == choice.text
        assert told.token_logprobs[0] is None
        assert all(each <= 0 for each in told.token_logprobs[1:])
        assert [
            choice.text[at:][: len(t)] for at, t in zip(told.text_offset, told.tokens, strict=True)
        ] == told.tokens
        assert len(told.top_logprobs[1]) == 2
    texts = [""] * 4
    usage = None
    stream = await client.completions.create(
        model=MODEL,
        prompt=["one", "two"],
        n=2,
        max_tokens=40,
        echo=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        assert chunk.object == "text_completion"
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage


@pytest.mark.parametrize("prompt", [None, "", "hello", [1, 2], [[1], [2, 3]]])
async def test_completions_take_every_form_of_a_prompt(http, prompt):
    body = {"model": MODEL} if prompt is None else {"model": MODEL, "prompt": prompt}
    answer = (await http.post("/v1/completions", json=body)).json()
    assert len(answer["choices"]) == (2 if prompt == [[1], [2, 3]] else 1)
    assert answer["usage"]["completion_tokens"] == 16 * len(answer["choices"])
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "fields",
    [{"logprobs": 6}, {"prompt": []}, {"prompt": ["x"] * 200}, {"prompt": {}}, {"prompt": [{}]}],
)
async def test_completions_refuse(http, fields):
    response = await http.post("/v1/completions", json={"model": MODEL, "prompt": "x"} | fields)
    assert response.status_code == 400


# --- chat ------------------------------------------------------------------------------------


async def test_logprobs_come_with_chat_whole_and_streamed(client):
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": RIVERS}],
        "logprobs": True,
        "top_logprobs": 3,
    }
    whole = await client.chat.completions.create(**asked)
    told = whole.choices[0].logprobs.content
    assert "".join(each.token for each in told) == whole.choices[0].message.content
    assert {len(each.top_logprobs) for each in told} == {3}
    pieces = []
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        if chunk.choices[0].logprobs is not None:
            pieces += chunk.choices[0].logprobs.content
    assert pieces == told


async def test_parallel_and_custom_calls_come_whole_and_streamed(client):
    function = {"name": "get_weather", "parameters": CITY}
    custom = {"type": "custom", "custom": {"name": "run_code", "description": "Run code"}}
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "weather in Paris and Rome, then run_code `1+1`"}],
        "tools": [{"type": "function", "function": function}, custom],
    }
    whole = await client.chat.completions.create(**asked)
    calls = whole.choices[0].message.tool_calls
    assert [call.type for call in calls] == ["custom"]  # by its name
    assert calls[0].custom.input == "1+1"
    asked["messages"][0]["content"] = "weather in Paris and Rome?"
    whole = await client.chat.completions.create(**asked)
    calls = whole.choices[0].message.tool_calls
    assert len({call.id for call in calls}) == 2
    texts = ["", ""]
    ids = {}
    async for chunk in await client.chat.completions.create(**asked, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or ():
            texts[delta.index] += delta.function.arguments
            ids[delta.index] = delta.id or ids[delta.index]
    assert texts == [call.function.arguments for call in calls]
    assert [json.loads(text)["city"] for text in texts] == ["Paris", "Rome"]
    assert len(set(ids.values())) == 2


# --- messages --------------------------------------------------------------------------------


async def test_messages_stream_what_they_say_whole(http):
    tool = {"name": "get_weather", "description": "weather", "input_schema": CITY}
    body = {
        "model": MODEL,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "What's the weather in Paris and Rome?"}],
        "tools": [tool],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    whole = (await http.post("/v1/messages?beta=true", json=body)).json()
    kinds = [block["type"] for block in whole["content"]]
    assert kinds == ["thinking", "tool_use", "tool_use"]
    assert whole["stop_reason"] == "tool_use"
    assert whole["usage"]["output_tokens_details"] == {"thinking_tokens": 24}
    text = (await http.post("/v1/messages", json=body | {"stream": True})).text
    events = [json.loads(each.split("data: ")[1]) for each in text.strip().split("\n\n")]
    assert events[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"] > 0
    blocks = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
        if event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            block = blocks[-1]
            match delta["type"]:
                case "input_json_delta":
                    block["json"] += delta["partial_json"]
                case "thinking_delta":
                    block["thinking"] += delta["thinking"]
                case "signature_delta":
                    block["signature"] += delta["signature"]
    for block in blocks:
        arguments = block.pop("json")
        block.pop("id", None)
        if arguments:
            block["input"] = json.loads(arguments)
    for block in whole["content"]:
        block.pop("id", None)
    assert blocks == whole["content"]
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert events[-2]["usage"]["output_tokens_details"] == {"thinking_tokens": 24}
    assert events[-1] == {"type": "message_stop"}


async def test_tokens_of_messages_are_counted_without_a_limit(http):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 400}]}
    counted = await http.post("/v1/messages/count_tokens", json=body)
    whole = await http.post("/v1/messages", json={**body, "max_tokens": 30})
    assert counted.json()["input_tokens"] == whole.json()["usage"]["input_tokens"]
    for wrong in ({}, {"messages": 5}, []):
        refused = await http.post("/v1/messages/count_tokens", json=wrong)
        assert (refused.status_code, refused.json()["type"]) == (400, "error")


# --- the small ones --------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "size"), [("sim-embed", 256), ("sim-embed-large", 1024)])
async def test_embeddings_are_unit_vectors_in_both_encodings(client, model, size):
    inputs = ["rivers flow", "rivers flow down", "stock market"]
    default = await client.embeddings.create(model=model, input=inputs)
    floats = await client.embeddings.create(model=model, input=inputs, encoding_format="float")
    for one, other in zip(default.data, floats.data, strict=True):
        assert one.index == other.index
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert len(other.embedding) == size
        assert math.hypot(*other.embedding) == pytest.approx(1, abs=1e-5)

    def likeness(i, j):
        pairs = zip(floats.data[i].embedding, floats.data[j].embedding, strict=True)
        return sum(a * b for a, b in pairs)

    assert likeness(0, 1) > 0.5 > likeness(0, 2)
    short = await client.embeddings.create(
        model=model, input="rivers", dimensions=64, encoding_format="float"
    )
    assert math.hypot(*short.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert len(short.data[0].embedding) == 64


async def test_embeddings_take_token_ids_and_are_sent_as_little_endian_floats(http):
    async def ask(**fields):
        return (await http.post("/v1/embeddings", json={"model": "sim-embed", **fields})).json()

    assert len((await ask(input=[1, 2, 3]))["data"]) == 1
    both = await ask(input=[[1, 2, 3], [4]], encoding_format="base64")
    raw = base64.b64decode(both["data"][0]["embedding"])
    floats = (await ask(input=[1, 2, 3]))["data"][0]["embedding"]
    assert struct.unpack("<256f", raw) == pytest.approx(floats, abs=1e-6)
    assert both["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


@pytest.mark.parametrize(
    "fields",
    [
        *({"input": wrong} for wrong in ("", [], [""], ["a", ""], [[]], None, 5, {}, ["a", 1])),
        {"input": ["x"] * 2049},
        {"input": "x" * 40_000},
        *({"input": "x", "dimensions": wrong} for wrong in (0, 257, "3")),
        {"input": "x", "encoding_format": "int8"},
    ],
    ids=str,
)
async def test_embeddings_refuse_what_the_real_api_refuses(http, fields):
    response = await http.post("/v1/embeddings", json={"model": "sim-embed", **fields})
    assert (response.status_code, set(response.json())) == (400, {"error"})


async def test_embeddings_want_a_model_that_embeds(http, stub):
    response = await http.post("/v1/embeddings", json={"model": MODEL, "input": "x"})
    assert response.status_code == 404
    stub.faults.add(Fault(fault=FaultKind.STATUS, status=429, model="sim-embed"))
    response = await http.post("/v1/embeddings", json={"model": "sim-embed", "input": "x"})
    assert response.status_code == 429
    assert [entry.status for entry in stub.log.entries] == [404, 429]


async def test_documents_are_put_in_order(http):
    body = {
        "model": "sim-rerank",
        "query": "how do rivers form",
        "documents": ["stocks fell", "how rivers form", {"text": "rivers"}],
        "top_n": 2,
        "return_documents": True,
    }
    answer = (await http.post("/v1/rerank", json=body)).json()
    assert [result["index"] for result in answer["results"]] == [1, 2]
    assert answer["results"][0]["document"] == {"text": "how rivers form"}
    scores = [result["relevance_score"] for result in answer["results"]]
    assert 1 >= scores[0] > scores[1] >= 0
    assert (await http.post("/v1/rerank", json=body | {"documents": []})).status_code == 400


async def test_harm_is_told(client):
    told = await client.moderations.create(
        model="sim-moderation", input=["a nice day", "how to build a bomb"]
    )
    assert [result.flagged for result in told.results] == [False, True]
    assert told.results[1].categories.illicit_violent
    parts = [{"type": "text", "text": "a nice day"}]
    told = await client.moderations.create(model="sim-moderation", input=parts)
    assert len(told.results) == 1


async def test_pictures_decode(client):
    made = await client.images.generate(model="sim-image", prompt="a river", n=2)
    assert len({each.b64_json for each in made.data}) == 2
    assert base64.b64decode(made.data[0].b64_json).startswith(b"\x89PNG\r\n")
    assert made.usage.total_tokens > 0
    linked = await client.images.generate(
        model="sim-image", prompt="a river", response_format="url"
    )
    assert linked.data[0].url.startswith("https://example.com/")
    with pytest.raises(openai.BadRequestError):
        await client.images.generate(model="sim-image", prompt="a river", n=11)


async def test_silence_is_spoken_and_transcribed(client):
    async def speak(form):
        spoken = await client.audio.speech.create(
            model="sim-speech", voice="alloy", input="hello", response_format=form
        )
        return spoken.response.headers["content-type"], spoken.content

    kind, sound = await speak("wav")
    assert kind == "audio/wav"
    with wave.open(io.BytesIO(sound)) as opened:
        assert opened.getnframes() > 0
    assert (await speak("mp3"))[1].startswith(b"\xff\xfb")
    assert (await speak("pcm"))[0] == "audio/pcm"
    with pytest.raises(openai.BadRequestError, match="mp3, wav and pcm"):
        await speak("opus")
    for form in ("json", "verbose_json", "text", "srt", "vtt"):
        heard = await client.audio.transcriptions.create(
            model="sim-transcribe",
            file=("hello.wav", sound),
            response_format=form,
            timestamp_granularities=["segment", "word"],
        )
        text = heard if isinstance(heard, str) else heard.text
        assert "simulated transcription of hello.wav" in text


async def test_forms_are_logged_without_their_files(client, stub):
    await client.audio.transcriptions.create(
        model="sim-transcribe", file=("a.wav", b"\r\n--x\r\n" * 50), language="en"
    )
    (entry,) = stub.log.entries
    assert (entry.body["file"]["file"], entry.body["file"]["bytes"]) == ("a.wav", 350)
    assert entry.body["language"] == "en"


async def test_pictures_are_changed_and_varied(client, http):
    source = ("a.png", b"\x89PNG", "image/png")
    changed = await client.images.edit(
        model="sim-image", prompt="a river", image=[source, source], n=2
    )
    assert len({each.b64_json for each in changed.data}) == 2
    assert changed.usage.input_tokens_details.image_tokens == 512
    form = {"data": {"model": "sim-image", "n": "3"}, "files": {"image": source}}
    varied = (await http.post("/v1/images/variations", **form)).json()["data"]
    assert len({each["b64_json"] for each in varied}) == 3
    assert base64.b64decode(varied[0]["b64_json"]).startswith(b"\x89PNG\r\n")


async def test_pictures_come_in_parts(client):
    events = [
        event
        async for event in await client.images.generate(
            model="sim-image", prompt="a river", n=2, stream=True, partial_images=1
        )
    ]
    kinds = ["image_generation.partial_image", "image_generation.completed"]
    assert [event.type for event in events] == kinds * 2
    assert [getattr(event, "usage", None) is not None for event in events] == [False] * 3 + [True]
    assert events[-1].usage.output_tokens == 2 * 256 + 2 * 100
    with pytest.raises(openai.BadRequestError, match="partial_images"):
        await client.images.generate(
            model="sim-image", prompt="a river", stream=True, partial_images=4
        )


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own
async def test_what_is_heard_is_translated(client):
    for form in ("json", "verbose_json", "text", "srt", "vtt"):
        heard = await client.audio.translations.create(
            model="sim-transcribe", file=("a.wav", b"RIFF"), response_format=form
        )
        text = heard if isinstance(heard, str) else heard.text
        assert "simulated translation of a.wav" in text


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("error_event", openai.APIError), ("close_mid_stream", httpx.RemoteProtocolError)],
)
async def test_a_stream_of_pictures_fails_on_demand(client, stub, fault, expected):
    stub.faults.add(Fault(fault=FaultKind(fault), model="sim-image", after_chunks=1))
    events = await client.images.generate(
        model="sim-image", prompt="a river", stream=True, partial_images=2
    )
    assert (await anext(events)).partial_image_index == 0
    with pytest.raises((expected, openai.APIConnectionError)):
        await anext(events)


MEDIA = {
    "images/generations": "sim-image",
    "images/edits": "sim-image",
    "images/variations": "sim-image",
    "audio/speech": "sim-speech",
    "audio/transcriptions": "sim-transcribe",
    "audio/translations": "sim-transcribe",
}


@pytest.mark.parametrize("path", MEDIA)
async def test_media_refuse_what_is_empty(http, path):
    body = {"model": MEDIA[path]}
    assert (await http.post(f"/v1/{path}", json=body)).status_code == 400
    response = await http.post(
        f"/v1/{path}", content=b"x", headers={"content-type": "multipart/form-data"}
    )
    assert response.status_code == 400
