"""The dialects that clients speak, and the paths on which they are spoken."""

CHAT_COMPLETIONS = "chat_completions"
"""The dialect that everything inside is written in: OpenAI's chat completions."""

MESSAGES = "messages"
"""Anthropic's Messages API."""

RESPONSES = "responses"
"""OpenAI's Responses API."""

CHAT_ROUTE = "/v1/chat/completions"
MESSAGES_ROUTE = "/v1/messages"
COUNT_TOKENS_ROUTE = "/v1/messages/count_tokens"
INPUT_TOKENS_ROUTE = "/v1/responses/input_tokens"
DECISION_ROUTE = "/v1/route"
"""Where decisions are asked for; an outcome is left here too where a scorer was paid."""

WATCH_ROUTE = "watch"
"""In place of a path, where the gateway itself asks whether a model is still what it was."""
