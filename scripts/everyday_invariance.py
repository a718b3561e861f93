"""How often a choice stays where a prompt asks for the same in other words or other dress."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from routers.data.graded import GradedPrompt, Padding
from routers.training.rewording import with_typos
from routers.types import Conversation, Message

Choose = Callable[[Sequence[Conversation]], np.ndarray]
"""Gives the model of each conversation, (n_conversations, n_knobs)."""

UNSEEN = "unseen: "
"""Families of paddings begin so that no part of training has met anything like."""

_PROMPTS_PER_PADDING = 10
_LONGEST_CHARS = 600


def measure_invariance(
    choose: Choose,
    prompts: Sequence[GradedPrompt],
    paddings: Sequence[Padding],
    paraphrases: Mapping[str, str],
) -> dict[str, list[float]]:
    """Return the share of unchanged choices for each kind of change, one per position of the knob.

    Parameters
    ----------
    choose
        Decides as the gateway would.
    paddings
        Each is put around some prompts of its language, up to 600 characters long.
    paraphrases
        Other wordings of some prompts, by their id.

    Returns
    -------
    dict
        `padding` (all families that training has seen the like of), `unseen padding`, each
        family by its name, `paraphrase` and `typing errors`.
    """
    rng = np.random.default_rng(0)
    texts = [each for each in prompts if len(each.text) <= _LONGEST_CHARS]
    changed: dict[str, list[tuple[Conversation, Conversation]]] = {
        "padding": [],
        "unseen padding": [],
    }
    for padding in paddings:
        mine = [each for each in texts if each.language == padding.language]
        for at in rng.permutation(len(mine))[:_PROMPTS_PER_PADDING]:
            plain = Conversation.of(mine[at].text)
            pair = plain, padding.around(mine[at].text)
            changed.setdefault(padding.family, []).append(pair)
            if padding.place != "system":
                kind = "unseen padding" if padding.family.startswith(UNSEEN) else "padding"
                changed.setdefault(kind, []).append(pair)
    changed["paraphrase"] = [
        (each.conversation, _with_last(each.conversation, paraphrases[each.prompt_id]))
        for each in prompts
        if each.prompt_id in paraphrases
    ]
    changed["typing errors"] = [
        (each.conversation, _with_last(each.conversation, with_typos(each.text, rng)))
        for each in texts
        if each.language == "en"
    ]
    return {name: _unchanged(choose, pairs) for name, pairs in changed.items() if pairs}


def _unchanged(choose: Choose, pairs: Sequence[tuple[Conversation, Conversation]]) -> list[float]:
    before, after = choose([plain for plain, _ in pairs]), choose([other for _, other in pairs])
    return [float(each) for each in (before == after).mean(axis=0)]


def _with_last(conversation: Conversation, text: str) -> Conversation:
    last = conversation.messages[-1]
    return Conversation((*conversation.messages[:-1], Message(last.role, text)))
