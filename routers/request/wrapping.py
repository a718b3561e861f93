"""What a request is dressed in: quotation marks, emphasis, headings, tags."""

import re

_MOST_LAYERS = 4
_PAIRS = {
    '"': '"',
    "“": "”",
    "„": "“",
    "«": "»",
    "「": "」",
    "『": "』",
    "‹": "›",
    "**": "**",
    "__": "__",
    "*": "*",
    "_": "_",
    "`": "`",
}
_FIRST_MARKS = frozenset('"“„«「『‹*_`>#<-=~•')
_LABELS = (
    "question|task|prompt|request|query|instruction|instructions|input|user|exercise|problem|q"
    "|frage|aufgabe|anfrage|demande|tâche|consigne|pregunta|tarea|petición|domanda|compito"
    "|richiesta|pergunta|tarefa|pedido|vraag|opdracht|taak|вопрос|задача|задание|запрос|pytanie"
    "|zadanie|soru|görev|سؤال|السؤال|مهمة|प्रश्न|सवाल|कार्य|问题|問題|提问|任务|请求|質問|タスク"
    "|依頼|질문|과제|요청|fråga|uppgift|otázka|úkol|питання|завдання|שאלה|משימה|پرسش|pertanyaan"
    "|tugas|câu hỏi|คำถาม"
)
_LABEL = re.compile(
    rf"(?:#{{1,6}}\s*)?[*_]{{0,2}}(?:{_LABELS})[*_]{{0,2}}(?: ?[:：][*_]{{0,2}}\s*|\n\s*)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(```|~~~)([\w+-]*)\n(.*?)\n?\1", re.DOTALL)
_TAG = re.compile(r"<([a-zA-Z_][\w-]{1,30})>\s*(.*?)\s*</\1>", re.DOTALL)
_RULES = re.compile(r"\A(?:[-=*_~]{3,}\s*\n)+|(?:\n\s*[-=*_~]{3,}\s*)+\Z")
_MARK = re.compile(r"(?:#{1,6}|[-*•])\s+(?=\S)")
_CODE_MARKS = frozenset("{}[]();=<>")
_FEWEST_CODE_MARKS = 2
_TEXT_NAMES = frozenset(("", "text", "txt", "plaintext", "markdown", "md"))


def unwrap(text: str) -> str:
    """Return `text` without quotation marks, emphasis, headings or tags around the whole of it.

    `**Question:** why?`, `> why?` and `"why?"` all ask why. A fenced program keeps its fence:
    that it is one is what the request is told by.
    """
    bare = text.strip()
    for _ in range(_MOST_LAYERS):
        inner = _without_layer(bare)
        if inner == bare or not any(map(str.isalnum, inner)):
            break
        bare = inner
    return text if bare == text.strip() else bare


def _without_layer(text: str) -> str:
    label = _LABEL.match(text)
    if label is not None:
        return text[label.end() :].strip()
    if not text or (text[0] not in _FIRST_MARKS and text[-1] not in _FIRST_MARKS):
        return text
    bare = _RULES.sub("", text).strip()
    if bare == text:
        bare = _without_block(text)
    return _without_pair(text) if bare == text else bare


def _without_block(text: str) -> str:
    """Return what stands in a fence, in a tag, in a quoted block, or after a list's mark."""
    fence, tag = _FENCE.fullmatch(text), _TAG.fullmatch(text)
    if fence is not None:
        is_text = fence[2].lower() in _TEXT_NAMES and not _looks_like_code(fence[3])
        return fence[3].strip() if is_text else text
    if tag is not None:
        return tag[2]
    lines = text.split("\n")
    if all(line.startswith(">") or not line.strip() for line in lines):
        return "\n".join(line.removeprefix(">").strip() for line in lines).strip()
    mark = _MARK.match(text) if len(lines) == 1 else None
    return text if mark is None else text[mark.end() :]


def _without_pair(text: str) -> str:
    for opens, closes in _PAIRS.items():
        if text.startswith(opens) and text.endswith(closes):
            inner = text[len(opens) : len(text) - len(closes)]
            if opens not in inner and closes not in inner:
                return inner.strip()
    return text


def _looks_like_code(text: str) -> bool:
    return sum(map(text.count, _CODE_MARKS)) >= _FEWEST_CODE_MARKS or "\n    " in text
