"""Anthropic's own client for Python, with its tool runner."""

from anthropic import Anthropic, AsyncAnthropic, beta_tool
from common import BASE_URL, CITIES, JASON, KEY, KNOB, RIVERS, WEATHER, get_weather, tell
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


client = Anthropic(base_url=BASE_URL, api_key=KEY, default_headers=KNOB)


async def messages():
    asked = {
        "model": "auto",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": RIVERS}],
    }
    raw = client.messages.with_raw_response.create(**asked)
    answer = raw.parse()
    told = {"text": answer.content[0].text, "route": raw.headers["x-route-model"]}
    async with (
        AsyncAnthropic(base_url=BASE_URL, api_key=KEY, default_headers=KNOB) as other,
        other.messages.stream(**asked) as stream,
    ):
        told["streamed"] = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    told["usage"] = [answer.usage.input_tokens, final.usage.input_tokens]
    told["counted"] = client.messages.count_tokens(
        model="auto", messages=asked["messages"]
    ).input_tokens

    runner = client.beta.messages.tool_runner(
        model="auto",
        max_tokens=1000,
        messages=[{"role": "user", "content": WEATHER}],
        tools=[beta_tool(get_weather)],
    )
    told["after"] = runner.until_done().content[0].text
    told["cities"] = CITIES
    with client.messages.stream(
        model="sim-claude",
        max_tokens=3000,
        messages=[{"role": "user", "content": WEATHER}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[beta_tool(get_weather).to_dict()],
    ) as stream:
        told["blocks"] = [block.type for block in stream.get_final_message().content]
    parsed = client.messages.parse(
        model="auto",
        max_tokens=1000,
        messages=[{"role": "user", "content": JASON}],
        output_format=Person,
    )
    told["person"] = parsed.parsed_output.model_dump()
    return told


tell({"messages": messages})
