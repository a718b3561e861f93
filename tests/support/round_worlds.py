"""Questions in two steps of which each model knows one, and a planner that reads descriptors."""

import random
import re

from routers.steps import Answer, Purpose, Question

ABOUT = {
    "geo": "knows birthplaces",
    "civic": "knows mayors",
    "music": "knows songs",
}
_CITIES = tuple(f"city-{i}" for i in range(40))
_LINE = re.compile(r"^- (\S+) .*knows (\w+)", re.MULTILINE)


class TwoHops:
    """People were born in cities, which have mayors or songs; nobody knows two of these."""

    def __init__(self, *, seed: int = 0) -> None:
        rng = random.Random(seed)
        self.born = {f"person-{i}": rng.choice(_CITIES) for i in range(60)}
        self.mayor = {city: f"mayor-of-{city}-{rng.randrange(99)}" for city in _CITIES}
        self.song = {city: f"song-of-{city}-{rng.randrange(99)}" for city in _CITIES}

    def questions(self, *, songs: bool = False):
        """Yield questions and their answers; where wanted, every other one about songs."""
        for i, (person, city) in enumerate(self.born.items()):
            if songs and i % 2:
                yield f"Which song is sung where {person} was born?", self.song[city]
            else:
                yield f"Who is mayor where {person} was born?", self.mayor[city]

    def reply(self, model_id: str, text: str) -> str:
        """Return what a model answers; what it does not know it guesses."""
        found = re.search(r"(person|city)-\d+", text)
        name = found.group() if found else ""
        known = {
            "geo": self.born,
            "civic": self.mayor if "mayor" in text else {},
            "music": self.song if "song" in text else {},
        }[model_id]
        # Who is told what others found can repeat it.
        told = re.findall(r"Replied: (\S+)", text)
        return told[-1] if told else known.get(name, "city-0")

    def plan(self, text: str) -> str:
        """Plan by the descriptors and by what was found, as a model would that keeps the form."""
        who = {subject: model_id for model_id, subject in _LINE.findall(text)}
        found = re.findall(r"<information-\w+>\n(\S+)\n", text)
        question = re.search(r"<request-\w+>\n(.*)\n", text).group(1)
        if len(found) == 2:
            return f"<think>I have it</think><answer>{found[-1]}</answer>"
        if not found:
            person = re.search(r"person-\d+", question).group()
            return (
                f"<think>Where?</think><call>{who['birthplaces']}: Where was {person} born?</call>"
            )
        wanted, asks = (
            ("songs", "Which song has") if "song" in question else ("mayors", "Who is mayor of")
        )
        if wanted not in who:
            return f"<think>Nobody knows {wanted}</think><answer>{found[0]}</answer>"
        return f"<think>Now {wanted}</think><call>{who[wanted]}: {asks} {found[0]}?</call>"

    def respond(self, step, number: int) -> Answer:
        """Answer a step of a workflow."""
        if isinstance(step, Question):
            text = "\n".join(each.text for each in step.messages)
            plans = step.purpose is Purpose.PLANNER
            said = self.plan(text) if plans else self.reply(step.model_id, text)
        else:
            raise TypeError(step)
        return Answer(number=number, model_id=step.model_id, text=said, cost_usd=1e-4)
