"""LangChain: its models, its agents and its structured output."""

from common import BASE_URL, CITIES, JASON, KEY, KNOB, RIVERS, V1, WEATHER, get_weather, tell
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


def openai_model(**options):
    return ChatOpenAI(
        model="auto",
        base_url=V1,
        api_key=KEY,
        default_headers=KNOB,
        include_response_headers=True,
        stream_usage=True,
        **options,
    )


def asked(model):
    answer = model.invoke(RIVERS)
    streamed = list(model.stream(RIVERS))
    agent = create_agent(model, tools=[get_weather])
    ended = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
    person = model.with_structured_output(Person).invoke(JASON)
    return {
        "text": answer.text,
        "route": answer.response_metadata.get("headers", {}).get("x-route-model"),
        "streamed": "".join(chunk.text for chunk in streamed),
        "after": ended["messages"][-1].text,
        "cities": CITIES,
        "person": person.model_dump(),
    }


def chat():
    told = asked(openai_model(use_responses_api=False))
    for method in ("function_calling", "json_mode"):
        model = openai_model(use_responses_api=False).with_structured_output(Person, method=method)
        said = f"{JASON} Answer in JSON with the keys name and age."
        told[method] = model.invoke(said).model_dump()
    return told


def responses():
    return asked(openai_model(use_responses_api=True))


def messages():
    model = ChatAnthropic(model="auto", base_url=BASE_URL, api_key=KEY, default_headers=KNOB)
    return asked(model)


def others():
    # Its default, tokens, needs a table from the network.
    model = OpenAIEmbeddings(
        model="sim-embed", base_url=V1, api_key=KEY, check_embedding_ctx_length=False
    )
    return {"vectors": [len(each) for each in model.embed_documents([RIVERS, WEATHER])]}


tell({"chat": chat, "responses": responses, "messages": messages, "others": others})
