"""OpenAI's own client for Python, synchronous and asynchronous."""

import json

from common import CITIES, JASON, KEY, KNOB, RIVERS, V1, WEATHER, get_weather, tell
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


class Weather(BaseModel):
    """Get the current weather in a city."""

    city: str


client = OpenAI(base_url=V1, api_key=KEY, default_headers=KNOB)
TOOL = pydantic_function_tool(Weather, name="get_weather")
FLAT = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "parameters": Weather.model_json_schema() | {"additionalProperties": False},
    "strict": True,
}


async def chat():
    ask = [{"role": "user", "content": RIVERS}]
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ask)
    told = {"text": raw.parse().choices[0].message.content, "route": raw.headers["x-route-model"]}
    async with (
        AsyncOpenAI(base_url=V1, api_key=KEY, default_headers=KNOB) as other,
        other.chat.completions.stream(
            model="auto", messages=ask, stream_options={"include_usage": True}
        ) as stream,
    ):
        told["streamed"] = "".join([e.delta async for e in stream if e.type == "content.delta"])
        final = await stream.get_final_completion()
    told["cost"] = final.usage.cost_usd

    messages = [{"role": "user", "content": WEATHER}]
    asked = {"model": "auto", "messages": messages, "tools": [TOOL]}
    answer = client.chat.completions.create(**asked).choices[0].message
    messages.append(answer)
    for call in answer.tool_calls:
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    told["after"] = client.chat.completions.create(**asked).choices[0].message.content
    told["cities"] = CITIES
    parsed = client.chat.completions.parse(
        model="auto", messages=[{"role": "user", "content": JASON}], response_format=Person
    )
    told["person"] = parsed.choices[0].message.parsed.model_dump()
    return told


async def responses():
    raw = client.responses.with_raw_response.create(model="auto", input=RIVERS)
    told = {"text": raw.parse().output_text, "route": raw.headers["x-route-model"]}
    async with (
        AsyncOpenAI(base_url=V1, api_key=KEY, default_headers=KNOB) as other,
        other.responses.stream(model="auto", input=RIVERS) as stream,
    ):
        deltas = [e.delta async for e in stream if e.type == "response.output_text.delta"]
        told["streamed"] = "".join(deltas)
        await stream.get_final_response()
    items = [{"role": "user", "content": WEATHER}]
    answer = client.responses.create(model="auto", input=items, tools=[FLAT])
    items += answer.output
    for call in answer.output:
        if call.type == "function_call":
            result = get_weather(**json.loads(call.arguments))
            output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
            items.append(output)
    after = client.responses.create(model="auto", input=items, tools=[FLAT])
    told["after"], told["cities"] = after.output_text, CITIES
    parsed = client.responses.parse(model="auto", input=JASON, text_format=Person)
    told["person"] = parsed.output_parsed.model_dump()
    return told


def completions():
    whole = client.completions.create(model="auto", prompt=RIVERS, max_tokens=40)
    stream = client.completions.create(model="auto", prompt=RIVERS, max_tokens=40, stream=True)
    streamed = "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
    return {"text": whole.choices[0].text, "streamed": streamed}


def others():
    vectors = client.embeddings.create(model="sim-embed", input=[RIVERS, WEATHER])
    raw = client.embeddings.with_raw_response.create(model="sim-embed", input=RIVERS)
    picture = client.images.generate(model="sim-image", prompt="A river", n=2)
    events = client.images.generate(
        model="sim-image", prompt="A river", stream=True, partial_images=1
    )
    sound = client.audio.speech.create(model="sim-speech", voice="alloy", input=RIVERS)
    heard = client.audio.transcriptions.create(
        model="sim-transcribe", file=("rivers.mp3", sound.content)
    )
    words = client.audio.transcriptions.create(
        model="sim-transcribe", file=("rivers.mp3", sound.content), stream=True
    )
    judged = client.moderations.create(model="sim-moderation", input="a bomb")
    return {
        "vectors": [len(each.embedding) for each in vectors.data],
        "cost": float(raw.headers["x-route-cost-usd"]),
        "pictures": len([each.b64_json for each in picture.data]),
        "events": [each.type for each in events],
        "heard": heard.text,
        "words": "".join(e.delta for e in words if e.type == "transcript.text.delta"),
        "flagged": judged.results[0].flagged,
    }


tell({"chat": chat, "responses": responses, "completions": completions, "others": others})
