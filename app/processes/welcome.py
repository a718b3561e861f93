"""What a gateway that listens prints: what to try next, as it can be pasted."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from app.config import LoadedConfig

_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what is asked, not bound)
"""Where whoever listens everywhere is reached from the same machine."""


def welcome(config: LoadedConfig, *, host: str, port: int, console: bool) -> str:
    """Return the text: nothing that is to be pasted is indented, and a key stands where one must.

    Parameters
    ----------
    host, port
        What is listened on.
    console
        Whether the console is served.
    """
    gateway = config.gateway
    listens, url = _url(host, port), _url(_ANY.get(host, host), port)
    kind = (
        "simulated models: no key needed, answers are canned"
        if gateway.stub is not None
        else f"models: {', '.join(gateway.models)}"
    )
    model = "auto" if gateway.policies else next(iter(gateway.models))
    knob = ("x-cost-quality", "0.5") if gateway.policies else None
    keys = gateway.auth.keys_needed
    parts = [
        f"Steelyard listens on {listens}  ({kind})",
        *(_how_to_make_a_key(config) if keys else ()),
        "Try it:",
        _curl(url, model, knob, keys=keys),
        "From Python (pip install openai):",
        _python(url, model, knob, keys=keys),
        *([f"See it decide:     {url}/console"] if console else []),
        f"API documentation: {url}/docs       Stop with Ctrl-C.",
    ]
    return "\n" + "\n\n".join(parts) + "\n"


def _url(host: str, port: int) -> str:
    host = host or "0.0.0.0"  # noqa: S104  (where it listens is said, not decided)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _how_to_make_a_key(config: LoadedConfig) -> tuple[str, str]:
    make = f"{_command()} keys create my-app --config {shlex.quote(str(config.path))}"
    return "Make a key, in the shell that is to use it:", f"export STEELYARD_KEY=$({make})"


def _command() -> str:
    """Return how this command was called, such that a shell finds it again."""
    called = Path(sys.argv[0])
    if called.name != "steelyard":
        return f"{shlex.quote(sys.executable)} -m app"
    found = shutil.which(called.name)
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return called.name
    return shlex.quote(str(called))


def _curl(url: str, model: str, knob: tuple[str, str] | None, *, keys: bool) -> str:
    headers = ["'content-type: application/json'"]
    if knob is not None:
        headers.append(f"'{knob[0]}: {knob[1]}'")
    if keys:
        headers.append('"authorization: Bearer $STEELYARD_KEY"')
    sent = " ".join(f"-H {each}" for each in headers)
    messages = '[{"role": "user", "content": "What is a steelyard?"}]'
    return (
        f"curl -i {shlex.quote(url + '/v1/chat/completions')} {sent} \\\n"
        f'  -d \'{{"model": "{model}", "messages": {messages}}}\''
    )


def _python(url: str, model: str, knob: tuple[str, str] | None, *, keys: bool) -> str:
    key = 'os.environ["STEELYARD_KEY"]' if keys else '"none"'
    lines = [
        *(["import os"] if keys else []),
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{url}/v1", api_key={key})',
        "answer = client.chat.completions.create(",
        f'  model="{model}", messages=[{{"role": "user", "content": "What is a steelyard?"}}],',
        *([f'  extra_headers={{"{knob[0]}": "{knob[1]}"}},'] if knob is not None else []),
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return "\n".join(lines)
