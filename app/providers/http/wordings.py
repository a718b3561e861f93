"""How vendors word their errors: the one table by which failures are told apart.

Sources
-------
Wordings were collected from public reports and the lists that agents keep: `earendil-works/pi`
(`packages/ai/src/utils/overflow.ts`), `anomalyco/opencode` (`packages/llm/src/provider-error.ts`),
`BerriAI/litellm` (`exception_mapping_utils.py`), and the issues named beside the samples in
`tests/fixtures/wordings.jsonl`, which has one real sentence per vendor and sentences that look
alike and mean something else. Patterns state the idea of a sentence rather than its words.
"""

import re
from collections.abc import Mapping


def _any(*patterns: str) -> re.Pattern[str]:
    """Compile alternatives, however they are written."""
    return re.compile("|".join(patterns), re.IGNORECASE)


_SUBJECT = r"\b(?:prompt|inputs?|context|messages?|request(?:ed)?|conversation|total)\b"
_EXCEEDS = (
    r"(?:exceed(?:s|ed|ing)?|(?:long|great|larg)er than|more than|over|above|surpass(?:es|ed)?"
    r"|too (?:many|long|large)"
    r"|(?:must|should) (?:be|have) (?:<=?|less|fewer|at most|smaller|no more)"
    r"|cannot exceed|only supports|supports (?:at most|up to)|limited to|is only"
    r"|does(?: not|n't) fit|> ?\d)"
)
# What the answer may hold is another limit than what the model can read.
_TOKENS = (
    r"(?<!max_)(?<!max_new_)(?<!max_completion_)(?<!max_output_)(?<!output )tokens?(?![ _-]per)"
)

TOO_LONG = _any(
    # OpenAI, Azure, vLLM, DeepSeek, OpenRouter, Mistral, Fireworks; xAI; vLLM since 0.8
    r"max(?:imum|\.)? (?:context|prompt|input|sequence|model)[ _-]?(?:length|size|window)"
    r"(?! of \d+ ?char)",
    # OpenAI's newer ones, llama.cpp, LM Studio, Cloudflare, MiniMax, Ollama
    r"(?:context|max_seq|model)[ _-]?(?:length|window|size|len)\b[^.]{0,60}"
    r"(?:exceed|overflow|limit|reached|is only|too)",
    r"(?:exceed|overflow|greater than|longer than|larger than|more than|fit in)[^.]{0,60}"
    r"(?:context|max_seq_len|model length)",
    r"exceed_context|context_length|context_window|tokens_limit_reached",
    # Anthropic, Bedrock, Fireworks, Zhipu
    r"\b(?:prompt|input|conversation|messages?|history)(?: text| length| tokens?)?"
    r" (?:is |are )?too (?:long|large)(?! (?:image|file))",
    r"\bprompt (?:exceeds|超长)"
    r"|(?:prompt|input|sequence) length[^.]{0,40}(?:exceed|greater|longer|larger|beyond)",
    # SGLang, SiliconFlow, TGI, Gemini, Bedrock Nova, Copilot, Cloudflare
    rf"{_SUBJECT}[^.]{{0,80}}{_TOKENS}[^.]{{0,80}}{_EXCEEDS}",
    rf"{_SUBJECT}[^.]{{0,60}}{_EXCEEDS}[^.]{{0,60}}{_TOKENS}",
    r"prompt_tokens?[^.]{0,40}(?:exceed|must be less|less than|too)",
    # Cohere, Bedrock: not the ones a minute
    r"too many (?:input |prompt )?tokens(?! (?:per|requested)).{0,20}(?::|max|total|in the)",
    r"input tokens exceed|tokens in request more than",
    r"has [\d,]{1,12} tokens?\b[^.]{0,40}(?:context|maximum|limit)",
    # Groq, Cerebras
    r"(?:reduce|shorten)(?: the)?(?: length| size)?(?: of)?(?: your| the)? "
    r"(?:prompt|messages|input|context|conversation)\b",
    # LM Studio
    r"tokens when (?:the )?context",
    # OpenAI, of one message that no window holds
    r"'messages\[\d+\]\.content(?:\[\d+\]\.text)?': string too long",
    # DashScope
    r"range of input length",
    # GitHub Models
    r"\bbody too large for [^.]{0,60}\bmodel\b",
)
"""The prompt does not fit into the model's window; a larger model may take it."""

TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "exceed_context_size_error",
        "model_context_window_exceeded",
        "tokens_limit_reached",
        "prompt_too_long",
        "input_too_long",
    }
)

_FIELD_LIMITS = re.compile(
    r"max(?:imum)? (?:output|completion|new)[ _]tokens|completion tokens"
    r"|\b\d[\d,]* (?:char|item|image|tool|entries|element)|(?:string|array) too long"
    r"|tool argument",
    re.IGNORECASE,
)
"""Sentences about the length of something else than the prompt."""

_PROMPT_AFTER_ALL = re.compile(
    r"context (?:length|window|size|limit)|'messages\[\d+\]\.content'|input tokens", re.IGNORECASE
)

UNSUPPORTED = _any(
    # OpenAI, Anthropic, DeepSeek, OpenRouter, Groq, Ollama and everybody who says it plainly
    r"\b(?:does|do|is|are|was)(?: currently| yet)?(?: not|n't) (?:currently |yet )?"
    r"(?:support|supported|available|allowed|enabled|permitted)\b",
    r"\bnot (?:currently |yet )?(?:supported|available|enabled)\b[^.]{0,60}\bmodel\b",
    r"\b(?:unsupported|not supported)\b(?! (?:image|file|media|mime|url|content|format))",
    r"\bdeprecated\b[^.]{0,40}\bthis model\b|\bdeprecated for\b",
    r"no (?:endpoints?|providers?|instances?) (?:found|available)[^.]{0,60}(?:support|can handle)",
    # vLLM: what it was not started with, or how many pictures
    r"requires? --[a-z]|at most \d+ (?:image|audio|video)\S* may be provided",
    r"not a multimodal model|only supports? (?:text|one|the default)",
    # Moonshot, OpenAI's reasoning models
    r"only (?:the default )?\(?[\d.]+\)? (?:value )?is (?:allowed|supported)",
    # Fields that only some servers know
    r"unknown (?:parameter|argument|field|name)|unrecognized request argument"
    r"|extra inputs? (?:are|is) not permitted|extra_forbidden"
    r"|additional properties? (?:are|is) not",
    # DeepSeek
    r"unknown variant `(?:image_url|video_url|input_audio|file|developer|json_schema)`"
    r"|\bis unavailable now\b",
    # Anthropic, Bedrock
    r"cannot both be specified for this model",
    # llama.cpp
    r"(?:param|input|tools?) requires? |--jinja|mmproj",
    r"(?:can(?:not|'t)|unable to) (?:accept|process|handle|read) (?:image|audio|video|file|tool)",
)
"""The request is fine, but this model or its server lacks what it asks for."""

_NO_ENDPOINT = re.compile(r"no (?:endpoints?|providers?)[^.]{0,60}support", re.IGNORECASE)
"""OpenRouter says so under 404, where other servers speak of a model they do not know."""

_FEATURE = re.compile(
    r"\b(?:tools?|functions?|images?|audio|video|vision|json|schema|grammar|reasoning|thinking)\b"
    r"|jinja|mmproj",
    re.IGNORECASE,
)

UNSUPPORTED_CODES = frozenset(
    {
        "unsupported_parameter",
        "unsupported_value",
        "unknown_parameter",
        "unsupported",
        "not_supported",
        "unsupportederror",
        "not_supported_error",
        "unimplemented",
        "model_not_supported",
        "notimplementederror",
        "extra_forbidden",
    }
)

THROTTLED = re.compile(
    r"rate[ _-]?limit(?:s|ed|ing)?[ _-]?(?:reached|exceeded|hit|error|for|on)|\brate[ _-]?limited\b"
    r"|too many (?:requests|concurrent)|(?:tokens|requests) per (?:min|day|sec|hour)|\b[TR]P[MD]\b"
    r"|throttl|quota exceeded|exceeded (?:your|the) (?:current )?quota"
    r"|concurrency limit|too many tokens, please wait",
    re.IGNORECASE,
)
"""Too much in too short a time."""

THROTTLED_CODES = frozenset(
    {
        "429",
        "insufficient_quota",
        "rate_limit",
        "rate_limit_error",
        "rate_limit_exceeded",
        "rate_limit_reached",
        "ratelimiterror",
        "requests",
        "tokens",
        "resource_exhausted",
        "too_many_requests",
        "servicequotaexceededexception",
        "throttlingexception",
        "throttling",
        "throttling.ratequota",
        "throttling.allocationquota",
        "limit_burst_rate",
        "1002",  # MiniMax: base_resp
        "1039",
        "1302",  # Zhipu
        "1303",
        "engine_overloaded_error",
    }
)

OUT_OF_MONEY = _any(
    r"credit balance|insufficient (?:account )?(?:balance|credits?|funds)",
    r"account[^.]{0,30}(?:arrear|overdue)|arrearage|requires more credits",
    r"billing (?:hard limit|is not active)|exceeded your monthly",
    r"reached your specified [^.]{0,40}usage limits",
)
BAD_CREDENTIALS = _any(
    r"\b(?:incorrect|invalid)(?: x-)? ?api[ _-]?key\b|api key (?:not valid|expired)\.",
    r"api_key_invalid|pass a valid api key|invalid authentication|unauthorized",
)
OPERATOR_CODES = frozenset(
    {
        "invalid_api_key",
        "invalid_organization",
        "model_not_found",
        "modelnotfound",
        "deploymentnotfound",
        "insufficient_balance",
        "arrearage",
        "billing_error",
        "billing_not_active",
        "billing_hard_limit_reached",
        "authentication_error",
        "1004",  # MiniMax: credentials, balance
        "1008",
    }
)
"""What only whoever runs the gateway can mend."""

_OPENS = re.compile(r"(?<!\w)[\"'`]")
_CLOSES = re.compile(r"[\"'`](?!\w)")

MODERATED = re.compile(
    r"moderation|flagged|content[ _-]?(?:filter|policy|management)|safety (?:system|setting|filter)"
    r"|data_inspection_failed|inappropriate content|responsible ai|usage polic",
    re.IGNORECASE,
)
"""A filter refused the prompt, which is the client's."""

STATUSES: Mapping[str, int] = {
    # OpenAI, Anthropic, and who copies them
    "invalid_request_error": 400,
    "bad_request_error": 400,
    "badrequesterror": 400,
    "bad_request": 400,
    "badrequest": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "validation_error": 422,
    "unprocessableentityerror": 422,
    "unprocessable_entity_error": 422,
    "request_too_large": 413,
    "authentication_error": 401,
    "authenticationerror": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_balance": 402,
    "permission_error": 403,
    "permissiondeniederror": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "internal_error": 500,
    "overloaded_error": 529,
    "overloaded": 529,
    "service_unavailable_error": 503,
    # google.rpc.Code
    "invalid_argument": 400,
    "invalid-argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    # AWS, Alibaba, TGI, MiniMax
    "validationexception": 400,
    "invalidparameter": 400,
    "invalid_parameter_error": 400,
    "datainspectionfailed": 400,
    "data_inspection_failed": 400,
    "validation": 422,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "throttlingexception": 429,
    "modelnotreadyexception": 503,
    "serviceunavailableexception": 503,
    "internalserverexception": 500,
    "modeltimeoutexception": 504,
    "modelerrorexception": 500,
    "modelstreamerrorexception": 500,
    "servicequotaexceededexception": 429,
    "unrecognizedclientexception": 401,
    "expiredtokenexception": 401,
    "generation": 500,
    "incomplete_generation": 500,
    "2013": 400,
    "1026": 400,
}
"""What vendors call what HTTP has a status for; for errors that come under a 200."""


def unquoted(text: str) -> str:
    """Return a message without what it quotes: all from the first to the last quotation mark.

    Servers quote what the client wrote, names of tools for instance. No such word may pass for the
    upstream's own, else a client could have it called throttled or misconfigured.
    """
    first = _OPENS.search(text)
    last = max((found.end() for found in _CLOSES.finditer(text)), default=0)
    if first is None or last <= first.start():
        return text
    return f"{text[: first.start()]} {text[last:]}"


def is_too_long(text: str) -> bool:
    """Whether a message says that the prompt does not fit into the model's context window."""
    if TOO_LONG.search(text) is None:
        return False
    return _FIELD_LIMITS.search(text) is None or _PROMPT_AFTER_ALL.search(text) is not None


def is_unsupported(text: str, status: int | None) -> bool:
    """Whether a message says that the request is fine but this model lacks what it asks for.

    Parameters
    ----------
    status
        Where that speaks of the provider rather than of the request, the words must be plainer.
    """
    if status in (401, 402, 403):
        return False
    if status == 404:
        return _NO_ENDPOINT.search(text) is not None
    if (
        status is not None
        and not 400 <= status < 500
        and (status != 500 or _FEATURE.search(text) is None)
    ):
        return False
    return UNSUPPORTED.search(text) is not None
