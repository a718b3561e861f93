"""pydantic-ai: agents with tools and with outputs, streamed and not."""

from common import BASE_URL, CITIES, JASON, KEY, KNOB, RIVERS, V1, WEATHER, get_weather, tell
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel
from pydantic_ai import Agent, ModelSettings, NativeOutput, PromptedOutput

ROUTES: list[str] = []


class Person(BaseModel):
    name: str
    age: int


async def noted(response):
    ROUTES.append(response.headers.get("x-route-model"))


def client():
    hooks = {"response": [noted]}
    return AsyncOpenAI(
        base_url=V1, api_key=KEY, http_client=DefaultAsyncHttpxClient(event_hooks=hooks)
    )


async def asked(model, *outputs):
    settings = ModelSettings(extra_headers=KNOB)
    agent = Agent(model, model_settings=settings)
    told = {"text": (await agent.run(RIVERS)).output}
    async with agent.run_stream(RIVERS) as stream:
        told["streamed"] = await stream.get_output()
    helper = Agent(model, tools=[get_weather], model_settings=settings)
    told["after"] = (await helper.run(WEATHER)).output
    told["cities"] = list(CITIES)
    for output in outputs:
        writer = Agent(model, output_type=output, model_settings=settings)
        told.setdefault("persons", []).append((await writer.run(JASON)).output.model_dump())
    told["person"] = told["persons"][0]
    # A tool and an output: the tool's result is asked for with `tool_choice: required`.
    both = Agent(model, tools=[get_weather], output_type=Person, model_settings=settings)
    told["both"] = type((await both.run(f"{JASON} {WEATHER}")).output).__name__
    told["route"] = ROUTES[0] if ROUTES else None
    return told


async def chat():
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("auto", provider=OpenAIProvider(openai_client=client()))
    return await asked(model, Person, NativeOutput(Person), PromptedOutput(Person))


async def responses():
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIResponsesModel("auto", provider=OpenAIProvider(openai_client=client()))
    return await asked(model, Person, NativeOutput(Person))


async def messages():
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    provider = AnthropicProvider(base_url=BASE_URL, api_key=KEY)
    return await asked(AnthropicModel("auto", provider=provider), Person)


tell({"chat": chat, "responses": responses, "messages": messages})
