"""openai-agents: tools, a handoff, an output type, streamed and not."""

from agents import (
    Agent,
    ModelSettings,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from common import CITIES, JASON, KEY, KNOB, RIVERS, V1, WEATHER, get_weather, tell
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel

ROUTES: list[str] = []


class Person(BaseModel):
    name: str
    age: int


async def noted(response):
    ROUTES.append(response.headers.get("x-route-model"))


async def asked(api):
    http_client = DefaultAsyncHttpxClient(event_hooks={"response": [noted]})
    client = AsyncOpenAI(base_url=V1, api_key=KEY, default_headers=KNOB, http_client=http_client)
    set_default_openai_client(client, use_for_tracing=False)
    set_default_openai_api(api)
    set_tracing_disabled(True)
    settings = ModelSettings(include_usage=True)

    def agent(name, **options):
        return Agent(name=name, model="auto", model_settings=settings, **options)

    told = {"text": (await Runner.run(agent("plain"), RIVERS)).final_output}
    streamed = Runner.run_streamed(agent("plain"), RIVERS)
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    told["streamed"] = "".join(pieces)
    helper = agent("Weather", tools=[function_tool(get_weather)])
    triage = agent("Triage", handoffs=[helper])
    ended = await Runner.run(triage, WEATHER)
    told["after"], told["handed_to"] = ended.final_output, ended.last_agent.name
    told["cities"] = CITIES
    told["person"] = (
        await Runner.run(agent("writer", output_type=Person), JASON)
    ).final_output.model_dump()
    told["route"] = ROUTES[-1]
    return told


tell({"chat": lambda: asked("chat_completions"), "responses": lambda: asked("responses")})
