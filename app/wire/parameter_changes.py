"""One request as it is changed for a model, in each of the dialects that say the same otherwise.

Rules name fields as chat completions do; where a dialect keeps one of them elsewhere stands here.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.paths import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from app.wire.chat_changes import (
    EFFORT,
    FORMAT,
    THINKING,
    ChatChange,
    Scalar,
    decoded,
    encoded,
    scalar,
)
from app.wire.thinking import bounded_thinking, is_on


class MessagesChange(ChatChange):
    """A request of Anthropic's Messages API as it is changed."""

    paths = {  # noqa: RUF012  (declared as a class variable by the parent)
        EFFORT: ("output_config", "effort"),
        FORMAT: ("output_config", "format"),
        "max_completion_tokens": ("max_tokens",),
        "stop": ("stop_sequences",),
        "parallel_tool_calls": ("tool_choice", "disable_parallel_tool_use"),
        "user": ("metadata", "user_id"),
        "safety_identifier": ("metadata", "user_id"),
    }

    __slots__ = ()

    def fix(self, name: str, value: bytes) -> None:
        """Set a field; that a model shall not think is said of thinking here."""
        if name != EFFORT:
            super().fix(name, value)
        elif (effort := scalar(value)) != "none":
            super().fix(name, b'"low"' if effort == "minimal" else value)
        else:
            self._without(EFFORT)
            super().fix(THINKING, b'{"type":"disabled"}')

    def map_thinking(self, known: Sequence[str]) -> None:
        """Ask for thinking in a way that the model knows, or not at all."""
        super().map_thinking(known)
        if THINKING not in self.fields:
            self._keep_nothing_of_thinking()

    def _keep_nothing_of_thinking(self) -> None:
        """Leave out what is to be cleared of thinking: it is refused where there is none."""
        management = decoded(self.fields.get("context_management", b"null"))
        edits = management.get("edits") if isinstance(management, dict) else None
        if not isinstance(edits, list):
            return
        kept = [each for each in edits if not _clears_thinking(each)]
        if len(kept) < len(edits):
            self._without("context_management")
            if kept:
                self._with("context_management", encoded({**management, "edits": kept}))
            self.told.append("context_management clear_thinking=dropped")

    def fit(self) -> None:
        """Have a budget of thinking fit into the answer."""
        thinking = decoded(self.get(THINKING) or b"null")
        limit = scalar(self.get("max_tokens") or b"null")
        if isinstance(thinking, dict) and isinstance(limit, int):
            fitting = bounded_thinking(thinking, limit)
            if fitting is not thinking:
                self._with(THINKING, encoded(fitting))
                self.told.append(f"{THINKING}=bounded")

    def _say(self, words: str) -> bool:
        system = decoded(self.fields.get("system", b"null"))
        if system is None or isinstance(system, str):
            self._with("system", encoded(f"{system}\n\n{words}" if system else words))
        elif isinstance(system, list):
            self._with("system", encoded([*system, {"type": "text", "text": words}]))
        else:
            return False
        return True

    def _thinks(self) -> bool:
        return is_on(decoded(self.get(THINKING) or b"null"))


def _clears_thinking(edit: object) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking")


_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


class ResponsesChange(ChatChange):
    """A request of OpenAI's Responses API as it is changed."""

    paths = {  # noqa: RUF012  (declared as a class variable by the parent)
        EFFORT: ("reasoning", "effort"),
        FORMAT: ("text", "format"),
        "verbosity": ("text", "verbosity"),
        "max_tokens": ("max_output_tokens",),
        "max_completion_tokens": ("max_output_tokens",),
    }
    turns = "input"

    __slots__ = ()

    @classmethod
    def besides(cls, names: Collection[str]) -> tuple[str, ...]:
        """Return the list in which reasoning and log probabilities are asked for too."""
        return () if {EFFORT, "logprobs"}.isdisjoint(names) else ("include",)

    def map_effort(self, known: Sequence[str]) -> None:
        """Change an effort; of a model that does not reason all that is asked of reasoning goes."""
        if known:
            super().map_effort(known)
            return
        if self.has("reasoning"):
            self.fields = {key: each for key, each in self.fields.items() if key != "reasoning"}
            self.told.append("reasoning=dropped")
        self._exclude(_ENCRYPTED)

    def drop(self, name: str, *, keep: Sequence[Scalar], beside: Mapping[str, Any]) -> None:
        """Leave a field out; log probabilities are asked for in a list here."""
        if name != "logprobs":
            super().drop(name, keep=keep, beside=beside)
        elif not beside or any(map(self._is_there, beside.items())):
            self._exclude(_LOGPROBS)

    def _exclude(self, name: str) -> None:
        raw = self.fields.get("include", b"")
        if name.encode() not in raw:
            return
        included = decoded(raw)
        if not isinstance(included, list) or name not in included:
            return
        self._with("include", encoded([each for each in included if each != name]))
        self.told.append(f"include {name}=dropped")

    def _say(self, words: str) -> bool:
        said = decoded(self.fields.get("instructions", b"null"))
        if said is not None and not isinstance(said, str):
            return False
        self._with("instructions", encoded(f"{said}\n\n{words}" if said else words))
        return True


CHANGES: Mapping[str, type[ChatChange]] = {
    CHAT_COMPLETIONS: ChatChange,
    MESSAGES: MessagesChange,
    RESPONSES: ResponsesChange,
}
"""By dialect; of any other nothing is known, and nothing is changed."""
