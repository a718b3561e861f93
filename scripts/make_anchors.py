"""Write the shipped anchors: our own prompts with checkable answers, the same for the same seed.

Run it as `python scripts/make_anchors.py`; it writes routers/pretrained/anchors/anchors.jsonl.
"""

# ruff: noqa: E501, SIM905  (prompts are long, word lists read best as text)

import itertools
import json
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

SEED = 20250101
OUT = Path(__file__).parent.parent / "routers" / "pretrained" / "anchors" / "anchors.jsonl"
QUESTIONS = Path(__file__).with_name("anchor_questions.json")
"""Of general knowledge: each with four options, of which the first is right."""

ONLY = "Reply with the answer only."
WORK = "You may think step by step; end with the final number on a line of its own."

WORDS = (
    "lantern orchard velvet harbour granite whisper compass meadow thunder saffron pebble "
    "gallery magnet cinnamon glacier tapestry horizon butterfly parchment accordion"
).split()
NAMES = "Ada Bruno Chloe Dmitri Esra Farid Greta Hiro Ines Jonas".split()

Item = tuple[str, str, str]
"""Prompt, checker, expected answer."""


def arithmetic(rng: random.Random) -> Iterator[Item]:
    """From sums of small numbers to modular powers."""
    for digits in (1, 2, 3, 4, 6):
        a, b = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        yield f"What is {a} + {b}? {ONLY}", "number", str(a + b)
    for digits in (1, 2, 3, 4):
        a, b = (rng.randrange(10 ** (digits - 1) + 1, 10**digits) for _ in range(2))
        yield f"What is {a} × {b}? {ONLY}", "number", str(a * b)  # noqa: RUF001
    for _ in range(4):
        a, b, c = rng.randrange(20, 90), rng.randrange(3, 15), rng.randrange(2, 9)
        yield f"Compute {a} - {b} * ({c} + 4). {WORK}", "number", str(a - b * (c + 4))
    for exponent in (5, 13, 27):
        base, modulus = rng.randrange(3, 12), rng.randrange(13, 60)
        answer = pow(base, exponent, modulus)
        yield (
            f"What is the remainder of {base}^{exponent} divided by {modulus}? {WORK}",
            "number",
            str(answer),
        )
    for _ in range(4):
        price, percent = rng.randrange(4, 60) * 20, rng.choice((5, 15, 25, 35))
        name, extra = rng.choice(NAMES), rng.randrange(3, 40)
        answer = price * (100 - percent) / 100 + extra
        yield (
            (
                f"{name} buys a table that costs {price} dollars, gets {percent} % off, and pays "
                f"{extra} dollars for delivery. How many dollars does {name} pay in all? {WORK}"
            ),
            "number",
            f"{answer:g}",
        )


def conversion(rng: random.Random) -> Iterator[Item]:
    """Units, bases, clock times."""
    for unit, other, factor in (
        ("kilometres", "metres", 1000),
        ("hours", "seconds", 3600),
        ("weeks", "hours", 168),
        ("kibibytes", "bytes", 1024),
        ("square metres", "square centimetres", 10_000),
        ("litres", "cubic centimetres", 1000),
    ):
        n = rng.randrange(3, 48)
        yield f"How many {other} are {n} {unit}? {ONLY}", "number", str(n * factor)
    for _ in range(3):
        celsius = rng.randrange(-8, 20) * 5
        yield (
            f"Convert {celsius} degrees Celsius to degrees Fahrenheit. {ONLY}",
            "number",
            str(celsius * 9 // 5 + 32),
        )
    for _ in range(3):
        n = rng.randrange(40, 900)
        yield f"Write the decimal number {n} in binary. {ONLY}", "exact", f"{n:b}"
        yield f"Write the hexadecimal number {n:X} as a decimal number. {ONLY}", "number", str(n)
    for _ in range(3):
        start, length = rng.randrange(24 * 60), rng.randrange(100, 1400)
        end = (start + length) % (24 * 60)
        yield (
            (
                f"A train leaves at {start // 60:02d}:{start % 60:02d} and travels {length // 60} hours and "
                f"{length % 60} minutes. At what time (24-hour clock, HH:MM) does it arrive? {ONLY}"
            ),
            "exact",
            f"{end // 60:02d}:{end % 60:02d}",
        )


def strings(rng: random.Random) -> Iterator[Item]:
    """Letters, orders and counts, which tokenizers make hard."""
    for _ in range(4):
        word = rng.choice(WORDS)
        yield f"Spell the word '{word}' backwards. {ONLY}", "exact", word[::-1]
    for _ in range(3):
        words = rng.sample(WORDS, 5)
        yield (
            f"Sort these words alphabetically, separated by single spaces: {' '.join(words)}. {ONLY}",
            "exact",
            " ".join(sorted(words)),
        )
    for _ in range(4):
        words = rng.sample(WORDS, 4)
        letter = rng.choice("aert")
        yield (
            f"How often does the letter '{letter}' occur in '{' '.join(words)}'? {ONLY}",
            "number",
            str(" ".join(words).count(letter)),
        )
    for _ in range(3):
        words = rng.sample(WORDS, 6)
        yield (
            f"Join the first letters of these words to one string: {', '.join(words)}. {ONLY}",
            "exact",
            "".join(w[0] for w in words),
        )
    for shift in (1, 3, 11):
        word = rng.choice(WORDS)
        moved = "".join(chr((ord(c) - 97 + shift) % 26 + 97) for c in word)
        yield (
            f"Shift every letter of '{word}' forward by {shift} in the alphabet, z followed by a. {ONLY}",
            "exact",
            moved,
        )
    for _ in range(3):
        word = rng.choice(WORDS)
        kept = "".join(c for c in word if c not in "aeiou")
        yield f"Remove all vowels (a, e, i, o, u) from '{word}'. {ONLY}", "exact", kept


def logic(rng: random.Random) -> Iterator[Item]:
    """Orders of people, truth tables, liars, simple syllogisms."""
    for size in (3, 4, 5, 6):
        people = rng.sample(NAMES, size)
        facts = [f"{a} is taller than {b}." for a, b in itertools.pairwise(people)]
        rng.shuffle(facts)
        k = rng.randrange(1, size - 1)
        order = ("second", "third", "fourth", "fifth")[k - 1]
        yield f"{' '.join(facts)} Who is the {order} tallest? {ONLY}", "exact", people[k]
    for _ in range(4):
        p, q, r = (rng.random() < 0.5 for _ in range(3))
        value = (p or not q) and (q != r)
        yield (
            (
                f"Let P be {p}, Q be {q} and R be {r}. Is (P or not Q) and (Q xor R) true or false? "
                "Reply with one word."
            ),
            "exact",
            str(value),
        )
    for _ in range(3):
        a, b = rng.sample(NAMES, 2)
        yield (
            (
                f"On an island knights always tell the truth and knaves always lie. {a} says: 'We are both "
                f"knaves.' The other person is {b}. What is {b}, a knight or a knave? Reply with one word."
            ),
            "exact",
            "knight",
        )
    for _ in range(3):
        first, step, bend = rng.randrange(1, 9), rng.randrange(2, 7), rng.randrange(1, 4)
        terms = [first]
        for i in range(6):
            terms.append(terms[-1] + step + bend * i)
        shown = ", ".join(map(str, terms[:-1]))
        yield (
            f"Which number continues this sequence: {shown}, ...? {ONLY}",
            "number",
            str(terms[-1]),
        )
    for n in (3, 5):
        yield (
            (
                f"If it takes {n} machines {n} minutes to make {n} parts, how many minutes do 100 machines "
                f"take to make 100 parts? {ONLY}"
            ),
            "number",
            str(n),
        )


def code(rng: random.Random) -> Iterator[Item]:
    """Ask what a short Python program prints."""
    ask = "What does this Python program print? Reply with the output only."

    def item(text: str, output: object) -> Item:
        kind = "number" if isinstance(output, int) else "exact"
        return f"{ask}\n\n```python\n{text}\n```", kind, str(output)

    for _ in range(3):
        xs = [rng.randrange(1, 30) for _ in range(6)]
        yield item(f"print(sum(x for x in {xs} if x % 2))", sum(x for x in xs if x % 2))
        yield item(f"xs = {xs}\nprint(xs[1:5:2][-1])", xs[1:5:2][-1])
    for _ in range(3):
        n, a = rng.randrange(6, 12), rng.randrange(2, 5)
        total = 0
        for i in range(n):
            total = total * a % 97 + i
        yield item(f"t = 0\nfor i in range({n}):\n    t = t * {a} % 97 + i\nprint(t)", total)
    for _ in range(3):
        word = rng.choice(WORDS)
        k = rng.randrange(1, 4)
        yield item(f"s = '{word}'\nprint(s[::-1].upper()[{k}:])", word[::-1].upper()[k:])
    for _ in range(3):
        n = rng.randrange(7, 40)
        steps, m = 0, n
        while m != 1:
            m, steps = (m // 2 if m % 2 == 0 else 3 * m + 1), steps + 1
        yield item(
            f"n, k = {n}, 0\nwhile n != 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n    k += 1\nprint(k)",
            steps,
        )
    for _ in range(3):
        xs = rng.sample(range(1, 40), 5)
        yield item(
            f"def f(x, y=[]):\n    y.append(x)\n    return len(y)\nfor x in {xs}:\n    r = f(x)\nprint(r)",
            len(xs),
        )
    for _ in range(2):
        xs = [rng.randrange(1, 9) for _ in range(7)]
        yield item(
            f"d = {{}}\nfor x in {xs}:\n    d[x] = d.get(x, 0) + 1\nprint(max(d.values()) * 10 + len(d))",
            max(xs.count(x) for x in xs) * 10 + len(set(xs)),
        )
    xs = [rng.randrange(1, 50) for _ in range(7)]
    yield item(f"import statistics\nprint(statistics.median({xs}))", statistics.median(xs))


def form(rng: random.Random) -> Iterator[Item]:
    """Answers whose form is prescribed to the letter."""
    for n in (3, 5):
        yield (
            f"Write exactly {n} different English colour names in lower case, separated by commas without spaces, and nothing else.",
            "regex",
            rf"[a-z]+(?:,[a-z]+){{{n - 1}}}",
        )
    for _ in range(3):
        name, age = rng.choice(NAMES), rng.randrange(18, 80)
        yield (
            (
                f'Give a JSON object with the keys "name" (value {name}) and "age" (the number {age}), in this '
                "order, on one line, and nothing else."
            ),
            "regex",
            rf'\{{\s*"name"\s*:\s*"{name}"\s*,\s*"age"\s*:\s*{age}\s*\}}',
        )
    for n in (2, 4):
        yield (
            f"Write {n} lines. Every line is the word 'ready' in capital letters and nothing else.",
            "regex",
            rf"READY(?:\s*\nREADY){{{n - 1}}}",
        )
    for _ in range(2):
        word = rng.choice(WORDS)
        yield (
            f"Put the word {word} between double square brackets and write nothing else.",
            "regex",
            rf"\[\[{word}\]\]",
        )
    for _ in range(2):
        day, month, year = rng.randrange(10, 28), rng.randrange(1, 13), rng.randrange(1950, 2020)
        names = "January February March April May June July August September October November December".split()
        yield (
            f"Write the date {names[month - 1]} {day}, {year} in the form YYYY-MM-DD and nothing else.",
            "regex",
            f"{year}-{month:02d}-{day}",
        )
    for n in (3, 4):
        yield (
            f"Make a Markdown bullet list of exactly {n} fruits. Every line starts with '- ' and has one word; write nothing else.",
            "regex",
            rf"- [A-Za-z]+(?:\s*\n- [A-Za-z]+){{{n - 1}}}",
        )
    yield (
        "Answer only with the word yes or the word no, in lower case and without punctuation: is 97 a prime number?",
        "regex",
        "yes",
    )
    yield (
        "Answer only with the word yes or the word no, in lower case and without punctuation: is 91 a prime number?",
        "regex",
        "no",
    )


def knowledge(rng: random.Random) -> Iterator[Item]:
    """Questions of general knowledge with four options."""
    for question, options in json.loads(QUESTIONS.read_text(encoding="utf-8")):
        shown = rng.sample(options, len(options))
        lines = [f"{letter}. {option}" for letter, option in zip("ABCD", shown, strict=True)]
        right = "ABCD"[shown.index(options[0])]
        yield (
            "\n".join([question, *lines, "Reply with the letter of the right option only."]),
            "choice",
            right,
        )


def main() -> None:
    """Write the file."""
    rng = random.Random(SEED)  # noqa: S311
    seen: set[str] = set()
    lines = []
    for make in (arithmetic, conversion, strings, logic, code, form, knowledge):
        kind = "format" if make is form else make.__name__
        for number, (prompt, checker, expected) in enumerate(make(rng), start=1):
            if prompt in seen:
                continue
            seen.add(prompt)
            entry = {"id": f"{kind}-{number:02d}", "kind": kind, "prompt": prompt}
            lines.append(
                json.dumps({**entry, "checker": checker, "expected": expected}, ensure_ascii=False)
            )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {len(lines)} anchors to {OUT.name}")


if __name__ == "__main__":
    main()
