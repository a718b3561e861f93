"""Which tools simulated models call for natural prompts, and that agents come to an end."""

import json

import jsonschema_rs
import pytest

from app.stub.answers.compose import compose
from app.stub.tiers import TIERS

TEXT = {"type": "string"}


def tool(name, description="", required=None, **properties):
    required = list(properties) if required is None else required
    parameters = {"type": "object", "properties": properties, "required": required}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


UNIT = {"enum": ["celsius", "fahrenheit"]}
TOOLS = [
    tool("get_weather", "Get the current weather in a city.", ["city"], city=TEXT, unit=UNIT),
    tool("get_time", "Tell the time in a city", city=TEXT),
    tool("calculator", "Evaluate an arithmetic expression", expression=TEXT),
    tool("add", "Add two numbers", a={"type": "integer"}, b={"type": "integer"}),
    tool(
        "searchFlights",
        "Search for flights",
        origin=TEXT,
        destination=TEXT,
        date={"type": "string", "format": "date"},
    ),
    tool("Read", "Reads a file from the local filesystem.", ["file_path"], file_path=TEXT)
    | {"type": "function"},
    tool("Write", "Writes a file to the local filesystem.", file_path=TEXT, content=TEXT),
    tool("Bash", "Executes a given bash command in a shell session.", command=TEXT),
    tool("web_search", "Search the web", query=TEXT),
    tool("send_email", "Send an email", to=TEXT, subject=TEXT, body=TEXT),
    tool("transfer_to_spanish_agent", "Handoff to the spanish_agent. Speaks Spanish only."),
    tool(
        "convert_currency",
        "Convert between currencies",
        amount={"type": "number"},
        from_currency=TEXT,
        to_currency=TEXT,
    ),
    tool("get_order_status", "Look up an order", order_id=TEXT),
]
SCHEMAS = {each["function"]["name"]: each["function"]["parameters"] for each in TOOLS}


def calls(body):
    answer = compose("sim-nano", TIERS["sim-nano"], body)
    made = [(call.name, json.loads(call.text)) for call in answer.calls]
    for name, arguments in made:
        jsonschema_rs.validate(SCHEMAS.get(name, {}), arguments)
    return made


def ask(prompt, **fields):
    return {"messages": [{"role": "user", "content": prompt}], "tools": TOOLS, **fields}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What's the weather in Paris?", [("get_weather", {"city": "Paris"})]),
        ("weather in paris", [("get_weather", {"city": "paris"})]),
        ("Wie ist das Wetter in Berlin?", [("get_weather", {"city": "Berlin"})]),
        ("Is it warm in Lisbon today?", [("get_weather", {"city": "Lisbon"})]),
        (
            "What's the temperature in San Francisco in fahrenheit?",
            [("get_weather", {"city": "San Francisco", "unit": "fahrenheit"})],
        ),
        (
            "Compare the weather in Paris, London and New York.",
            [("get_weather", {"city": each}) for each in ("Paris", "London", "New York")],
        ),
        (
            "What is the weather and the time in Tokyo?",
            [("get_weather", {"city": "Tokyo"}), ("get_time", {"city": "Tokyo"})],
        ),
        ("What is 23*17?", [("calculator", {"expression": "23*17"})]),
        ("Please add 17 and 25", [("add", {"a": 17, "b": 25})]),
        (
            "Find me a flight from Paris to Rome on 2026-12-24",
            [
                (
                    "searchFlights",
                    {"origin": "Paris", "destination": "Rome", "date": "2026-12-24"},
                )
            ],
        ),
        ("Read README.md and say what it is about", [("Read", {"file_path": "README.md"})]),
        ("read a.py and src/b.py", [("Read", {"file_path": p}) for p in ("a.py", "src/b.py")]),
        ("run `ls -la`", [("Bash", {"command": "ls -la"})]),
        ("`cat README.md`, please", [("Bash", {"command": "cat README.md"})]),
        ("List the files here", [("Bash", {"command": "ls"})]),
        (
            "Search the web for the newest Python release",
            [("web_search", {"query": "the newest Python release"})],
        ),
        ("Can you speak Spanish to me?", [("transfer_to_spanish_agent", {})]),
        (
            "Convert 100 USD to EUR",
            [("convert_currency", {"amount": 100, "from_currency": "USD", "to_currency": "EUR"})],
        ),
        ("Where is my order #12345?", [("get_order_status", {"order_id": "12345"})]),
    ],
)
def test_a_natural_prompt_calls_what_it_is_about(prompt, expected):
    assert calls(ask(prompt)) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        *("Hello!", "Tell me a joke", "Why is the sky blue?", "How do I bake bread?"),
        "Write a poem about rivers",  # no file is named
        "run `rm -rf /`",  # an agent might
        "run `ls; rm -rf /`",
        "What is the capital of France?",
    ],
)
def test_nothing_is_called_where_nothing_fits(prompt):
    assert calls(ask(prompt)) == []


def test_forced_commands_do_no_harm():
    body = ask("run `rm -rf /`", tool_choice={"type": "function", "function": {"name": "Bash"}})
    assert calls(body) == [("Bash", {"command": "simulated"})]


def run_agent(body, *, result="fine", limit=12):
    """Play a client that runs what is called, until a text comes."""
    turns = []
    for _ in range(limit):
        answer = compose("sim-nano", TIERS["sim-nano"], body)
        if not answer.calls:
            return turns, answer.text
        turns.append([call.name for call in answer.calls])
        made = [{"function": {"name": c.name, "arguments": c.text}} for c in answer.calls]
        body["messages"].append({"role": "assistant", "tool_calls": made})
        body["messages"] += [{"role": "tool", "content": result} for _ in made]
    pytest.fail(f"no end: {turns}")


@pytest.mark.parametrize("parallel", [None, False])
@pytest.mark.parametrize(
    "prompt",
    [
        *("What's the weather in Paris?", "weather in Paris and Rome, and the time in Rome"),
        *("What is 23*17?", "Read a.py and b.py", "Can you speak Spanish?", "Hello", "send_email"),
    ],
)
def test_agents_come_to_an_end_with_the_results_told(prompt, parallel):
    fields = {} if parallel is None else {"parallel_tool_calls": parallel}
    turns, text = run_agent(ask(prompt, **fields), result="Sunny, 22 degrees")
    assert parallel is None or all(len(turn) == 1 for turn in turns)
    assert ("Sunny, 22 degrees" in text) is bool(turns)


def test_an_agent_asks_again_when_its_user_does():
    body = ask("What's the weather in Paris?")
    run_agent(body)
    body["messages"].append({"role": "user", "content": "And the weather in Rome?"})
    assert calls(body) == [("get_weather", {"city": "Rome"})]
    body["messages"].append({"role": "user", "content": "<system-reminder>x</system-reminder>"})
    assert calls(body) == [("get_weather", {"city": "Rome"})]


def test_required_always_calls_and_output_tools_come_last():
    output = tool("final_result", "The final response", city=TEXT, temperature={"type": "integer"})
    body = ask("What's the weather in Paris?", tool_choice="required")
    body["tools"] = [output, *TOOLS]
    assert [name for name, _ in calls(body)] == ["get_weather"]
    call = {"function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    body["messages"].append({"role": "assistant", "tool_calls": [call]})
    body["messages"].append({"role": "tool", "content": '{"temperature": 22, "sky": "clear"}'})
    # What the tools were told and answered is what is told of it.
    assert calls(body) == [("final_result", {"city": "Paris", "temperature": 22})]
    call = {"function": {"name": "final_result", "arguments": "{}"}}
    body["messages"].append({"role": "assistant", "tool_calls": [call]})
    body["messages"].append({"role": "tool", "content": "wrong, try again"})
    for _ in range(3):
        assert len(calls(body)) == 1


def test_allowed_tools_are_the_only_ones():
    allowed = [{"type": "function", "function": {"name": "get_time"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}}
    body = ask("What's the weather in Paris?", tool_choice=choice)
    assert calls(body) == []
    choice["allowed_tools"]["mode"] = "required"
    assert calls(body) == [("get_time", {"city": "Paris"})]


def test_a_tool_that_there_is_not_cannot_be_called():
    choice = {"type": "function", "function": {"name": "fly"}}
    assert calls(ask("fly", tool_choice=choice)) == []


def test_custom_tools_are_called_with_a_text():
    custom = {"type": "custom", "custom": {"name": "run_python", "description": "Run Python code"}}
    body = ask('Please use run_python on "print(1)"')
    body["tools"] = [custom]
    (call,) = compose("sim-nano", TIERS["sim-nano"], body).calls
    assert (call.custom, call.text) == (True, "print(1)")


def test_what_may_be_null_is_null_unless_it_is_said():
    unit = {"anyOf": [{"type": "string", "enum": ["c", "f"]}, {"type": "null"}]}
    days = {"type": ["integer", "null"]}
    strict = tool("forecast", "Weather forecast", city=TEXT, unit=unit, days=days)
    body = ask("Weather in Paris?")
    body["tools"] = [strict]
    assert calls(body) == [("forecast", {"city": "Paris", "unit": None, "days": None})]
    body = ask("Weather in Paris for 3 days, unit f?")
    body["tools"] = [strict]
    assert calls(body) == [("forecast", {"city": "Paris", "unit": "f", "days": 3})]


@pytest.mark.parametrize(
    "tools",
    [
        [None, 7, {}, {"type": "function"}, {"function": {"name": None}}],
        [{"function": {"name": "weather"}}],
        [{"function": {"name": "weather", "parameters": None}}],
        [{"function": {"name": "weather", "parameters": {"type": "string"}}}],
        [{"function": {"name": "weather", "parameters": {"properties": {"a": True}}}}],
        [{"function": {"name": "", "parameters": {}}}],
    ],
)
def test_odd_tools_are_called_all_the_same_or_not_at_all(tools):
    body = ask("weather?", tool_choice="auto")
    body["tools"] = tools
    for _, arguments in calls(body):
        assert isinstance(arguments, dict)
