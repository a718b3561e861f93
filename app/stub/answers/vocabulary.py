"""The words that a simulated model knows something of."""

from collections.abc import Mapping


def stem(word: str) -> str:
    """Return a word without its ending, roughly."""
    for ending in ("ation", "ing", "ion", "ate", "ors", "ers", "or", "er", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


OPENERS = _set(
    """a add all and answer are as ask at be book build calculate call can check classify compare
    compute convert could count create debug define describe did do does draft edit evaluate explain
    extract fetch find fix for forecast from generate get give good greetings had has have hello
    help hey hi how i if implement in is it joke lass let list look make me my name no now of on
    open please prove put read respond return run say search send set should show solve summarise
    summarize tell thank thanks that the there these they this to today tomorrow translate try two
    use user was we weather what were when where which who whose why will with would write yes you
    your"""
)
"""Words that a sentence begins with and that are no names."""

NO_NAMES = _set("AI API CSV HTML HTTP JSON Markdown PDF SQL URL XML YAML")
"""Words with a capital that name nobody."""

NO_PLACES = _set("a an celsius fahrenheit me my tomorrow today now next this that it")
"""Words that stand where the name of a place may stand, too."""

OF_ANY_TOOL = _set(
    """a agent and answer by call current data do execute fetch find for from function get given
    handle handoff in info information into is it list make mcp me my new of on or please question
    request return returns run set that the their them these this to tool transfer use user value
    what when where which with you your"""
)
"""Words of tools' names and descriptions that say nothing about what a tool is for."""

SAID_FOR = tuple(
    frozenset(map(stem, words.split()))
    for words in (
        "weather forecast temperature rain rainy sunny warm cold snow degrees wetter météo clima",
        "calculator calculate calculation math arithmetic expression compute evaluate eval",
        "add sum plus total addition",
        "multiply product multiplication",
        "subtract minus difference subtraction",
        "divide quotient division",
        "search google lookup web newest latest browse",
        "email mail message inbox",
        "bash shell command terminal exec ls",
        "read open show view contents",
        "time clock hour timezone",
        "convert exchange currency euros dollars",
        "book reserve booking reservation flight hotel table",
        "refund return money back",
        "translate translation spanish french german",
        "stock share price quote ticker",
    )
)
"""Stems of what people say for one another, and for what a tool's name says."""

KINDS: Mapping[str, frozenset[str]] = {
    "from": _set("origin from source departure sender"),
    "to": _set("destination to target arrival recipient"),
    "place": _set("city location place town address country region area airport state where venue"),
    "email": _set("email mail recipient to cc bcc"),
    "url": _set("url uri link href website"),
    "path": _set("path file filename filepath directory folder dir"),
    "command": _set("command cmd"),
    "expression": _set("expression formula equation calculation expr"),
    "date": _set("date day when deadline due time"),
    "uuid": _set("uuid guid"),
    "id": _set("id identifier reference ref order ticket sku isbn number"),
    "code": _set("symbol ticker currency"),
    "person": _set("name person user customer who author employee contact recipient assignee"),
    "request": _set(
        """query question search q prompt request task input topic subject keywords term terms text
        message content body phrase instructions title description"""
    ),
}
"""What the words of a value's name say that it is, the most telling kinds first."""

NUMBERS = _set("age amount count n number price quantity score total year rating")
"""Names of numbers."""

QUESTIONS = _set("is has can should are")
"""What the name of a yes or no begins with."""

_SPELT_OUT = "two three four five six seven eight nine ten"
COUNTED = {word: n for n, word in enumerate(_SPELT_OUT.split(), 2)}
"""Numbers that are spelt out; "one" counts less often than it stands for somebody."""
