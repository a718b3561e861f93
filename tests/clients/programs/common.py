"""What every program asks; nothing of this project is imported here."""

import asyncio
import inspect
import json
import sys

BASE_URL, *APIS = sys.argv[1:]
"""Of the gateway, without a version; and which of its APIs to speak, one after the other."""

V1 = f"{BASE_URL}/v1"
KEY = "none"
KNOB = {"x-cost-quality": "0.5"}
RIVERS = "How do rivers form?"
WEATHER = "What's the weather in Paris and in Rome?"
JASON = "Jason is 25 years old."


def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    CITIES.append(city)
    return f"{city}: sunny, 22 degrees"


CITIES: list[str] = []
"""For which the tool was called."""


def tell(programs):
    """Run the program of each API and print what they saw, as JSON."""
    seen = {}
    for api in APIS:
        CITIES.clear()
        told = programs[api]()
        if inspect.isawaitable(told):
            told = asyncio.run(told)
        seen[api] = json.loads(json.dumps(told))  # as it is now
    print(json.dumps(seen))
