"""Questions of the gateway's own to the models it serves, within a budget of their own.

Nobody waits for them, no client pays for them, and none is sent by a gateway that is stopping. What
they cost is claimed in a register before, so that all gateways of a store keep to one budget.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from app.calls import Call, CallRole, CanarySaid
from app.error_answers import answer_for
from app.errors import GatewayError, UpstreamTimeoutError
from app.gateway.money.paid import NOTHING_PAID, Paid, price_usd, was_sent
from app.gateway.questions import read_reply
from app.gateway.watch.canary_prompts import CANARY_PROMPTS, CanaryPrompt
from app.gateway.watch.provider_watch import ProviderWatch
from app.gateway.watch.watched_place import WatchedPlace
from app.keys import to_nusd
from app.outcome import Outcome
from app.paths import WATCH_ROUTE
from app.providers.base import ModelCall
from app.stores.base import Registers, StoreError
from app.usage import ToldUsage
from routers.text.token_estimate import estimate_tokens_upper
from routers.types import Conversation, Message, Role
from routers.watch.profile import KNOWN_AFTER
from routers.watch.signals import Observation
from routers.watch.watched import Level, Watched

LOOK_EVERY_S = 5.0
"""How often is looked whether a canary is due, on average."""
CALLER = "steelyard-watch"
"""In place of a key, in the decision log and in reports."""

_DAY_S = 86_400.0
_KEPT_S = 7 * _DAY_S
_REGISTER = "watch-canaries-1"
_HURRIED = 10.0
"""So many times as often are models asked that are not known yet, or suspected."""
_FEWEST_KNOWN = 8
"""Of a model that knows fewer answers, canaries tell nothing."""
_TRIES = 4
_CHARS_PER_TOKEN = 4

_encode_json = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRule:
    """How often canaries are asked, and what they may cost.

    Attributes
    ----------
    usd_per_day
        Of UTC, all gateways of a store together; nothing is asked at 0.
    every_s
        For each place; one that is not known yet, or suspected, `_HURRIED` times as often.
    max_tokens, timeout_s
        Of one answer.
    """

    usd_per_day: float = 0.0
    every_s: float = 600.0
    max_tokens: int = 512
    timeout_s: float = 60.0


class _Purse(msgspec.Struct, array_like=True, gc=False):
    """What was spent on which day, and when each place was last asked."""

    day: int = 0
    spent_nusd: int = 0
    asked: dict[str, float] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Purse).decode


@dataclass(slots=True, kw_only=True)
class Canaries:
    """Ask canaries.

    Attributes
    ----------
    record
        Takes the outcome of each.
    on_answer
        Told of each place that was asked, and how it did: `right`, `wrong` or `failed`.
    clock
        Monotonic seconds.
    is_stopping
        Whether the gateway takes no more requests.
    """

    watch: ProviderWatch
    record: Callable[[Outcome], None]
    clock: Callable[[], float]
    on_answer: Callable[[tuple[str, str, str], str], None] = lambda *_: None
    is_stopping: Callable[[], bool] = lambda: False
    rule: CanaryRule = field(default_factory=CanaryRule)
    _registers: Registers = field(init=False)

    def __post_init__(self) -> None:
        self._registers = self.watch.registers

    async def ask_one(self) -> bool:
        """Ask the place whose canary is due for longest, if one is; return whether one was."""
        if self.rule.usd_per_day <= 0 or self.is_stopping():
            return False
        now = self.watch.now()
        try:
            purse, _ = await self._read(now)
        except StoreError:
            return False  # nobody would know what was spent
        due: list[tuple[float, WatchedPlace]] = []
        for each in self.watch:
            since_s = now - purse.asked.get(each.register, 0.0)
            wait_s = self.rule.every_s
            if each.known.held is not Level.OK or not each.known.profile.tests_canaries:
                wait_s /= _HURRIED
            if since_s >= wait_s and self._upper_nusd(each) is not None and _knows(each.known):
                due.append((since_s / wait_s, each))
        if not due:
            return False
        return await self.ask(max(due, key=lambda pair: pair[0])[1])

    async def ask(self, watched: WatchedPlace) -> bool:
        """Ask one place, if there is money for it; return whether it was asked."""
        upper_nusd = self._upper_nusd(watched)
        if upper_nusd is None or self.is_stopping():
            return False
        try:
            if not await self._claim(watched.register, upper_nusd):
                return False
        except StoreError:
            return False
        prompt = next_prompt(watched.known)
        call, text = await self._call(watched, prompt)
        result = "failed"
        if text is not None:
            right = prompt.is_right(text)
            result = "right" if right else "wrong"
            said = CanarySaid(name=prompt.name, right=right)
            call = msgspec.structs.replace(call, canary=said)
            self.watch.take(watched.place, Observation(canary=(prompt.name, not right)))
        self._account(call)
        self.on_answer(watched.place, result)
        try:
            await self._spend(to_nusd(call.cost_usd or 0.0) - upper_nusd)
        except StoreError as error:
            _log.debug("what a canary cost less than it might have is not given back: %s", error)
        return True

    async def ask_forever(self, wait: Callable[[], float]) -> None:
        """Ask what is due until cancelled.

        Parameters
        ----------
        wait
            Returns how long to wait until the next look, in seconds.
        """
        while True:
            await asyncio.sleep(wait())
            try:
                await self.ask_one()
            except Exception:  # noqa: BLE001  (it must not end for good)
                _log.exception("a canary could not be asked")

    def _upper_nusd(self, watched: WatchedPlace) -> int | None:
        """Return what a canary may cost there; None where that is not known."""
        spec = watched.deployment.spec
        prompt = next_prompt(watched.known)
        usd = spec.prices.cost_usd(
            input_tokens=estimate_tokens_upper(_conversation(prompt)),
            output_tokens=self.rule.max_tokens,
        )
        return None if usd is None else to_nusd(usd)

    async def _claim(self, name: str, upper_nusd: int) -> bool:
        """Note that a place is asked, and what that may cost; return whether there is the money."""
        limit_nusd = to_nusd(self.rule.usd_per_day)

        def claimed(purse: _Purse) -> bool:
            if purse.spent_nusd + upper_nusd > limit_nusd:
                return False
            purse.spent_nusd += upper_nusd
            purse.asked[name] = self.watch.now()
            return True

        return await self._change(claimed)

    async def _spend(self, nusd: int) -> None:
        def spent(purse: _Purse) -> bool:
            purse.spent_nusd = max(0, purse.spent_nusd + nusd)
            return True

        await self._change(spent)

    async def _change(self, change: Callable[[_Purse], bool]) -> bool:
        for _ in range(_TRIES):
            now = self.watch.now()
            purse, version = await self._read(now)
            if not change(purse):
                return False
            put = await self._registers.replace(
                _REGISTER,
                _encode(purse),
                version=uuid.uuid4().hex,
                after=version,
                lifetime_s=_KEPT_S,
            )
            if put:
                return True
        return False

    async def _read(self, now: float) -> tuple[_Purse, str | None]:
        day = int(now // _DAY_S)
        found = await self._registers.read(_REGISTER)
        if found is None:
            return _Purse(day=day), None
        try:
            purse = _decode(found[1])
        except (msgspec.DecodeError, ValueError):
            return _Purse(day=day), found[0]
        if purse.day != day:
            purse.day, purse.spent_nusd = day, 0
        return purse, found[0]

    async def _call(self, watched: WatchedPlace, prompt: CanaryPrompt) -> tuple[Call, str | None]:
        """Return the account of a canary, and what was answered; None where nothing was."""
        deployment, began = watched.deployment, self.clock()
        request_id = f"canary-{uuid.uuid4().hex}"
        fields = {
            "messages": _encode_json([{"role": "user", "content": prompt.prompt}]),
            "temperature": b"0",
            "max_tokens": _encode_json(self.rule.max_tokens),
        }
        call = ModelCall(
            request_id=request_id,
            upstream_model=deployment.upstream_model,
            fields=deployment.parameters.apply(fields)[0],
            stream=False,
            timeouts=deployment.whole_timeouts,
        )
        text: str | None = None
        status: int | None = 200
        code: str | None = None
        paid = NOTHING_PAID
        n_asked = estimate_tokens_upper(_conversation(prompt))
        chunks = deployment.provider.send(call)
        try:
            async with asyncio.timeout(self.rule.timeout_s):
                chunk = await anext(chunks)
            text = read_reply(chunk.data).text
            told = (chunk.usage or ToldUsage()).filled(
                input_tokens=n_asked,
                output_tokens=max(1, len(text) // _CHARS_PER_TOKEN),
            )
            paid = Paid(told, price_usd(told, deployment.spec))
        except (TimeoutError, GatewayError) as error:
            failure = UpstreamTimeoutError("") if isinstance(error, TimeoutError) else error
            code, status = answer_for(failure).code, getattr(failure, "status", None)
            if was_sent(call.progress, failure):
                told = ToldUsage().filled(input_tokens=n_asked, output_tokens=0)
                paid = Paid(told, price_usd(told, deployment.spec))
        finally:
            await chunks.aclose()
        account = Call(
            call_id=f"{request_id}.0",
            parent_id=request_id,
            role=CallRole.CANARY,
            model_id=deployment.spec.model_id,
            upstream=deployment.upstream,
            began_s=0.0,
            duration_s=self.clock() - began,
            status=status,
            error=code,
            usage=paid.usage,
            cost_usd=paid.cost_usd,
            deployment=deployment.name,
        )
        return account, text

    def _account(self, call: Call) -> None:
        self.record(
            Outcome(
                request_id=call.parent_id,
                decision_id=call.parent_id,
                policy="",
                policy_version="",
                stream=False,
                decision=None,
                reason=None,
                calls=(call,),
                served_model_id=None,
                response_model=None,
                finish_reason=None,
                usage=None,
                decide_s=0.0,
                overhead_s=0.0,
                time_to_first_token_s=None,
                duration_s=call.duration_s,
                status=call.status or 502,
                error=call.error,
                route=WATCH_ROUTE,
                key_id=CALLER,
            )
        )


def next_prompt(known: Watched, prompts: Sequence[CanaryPrompt] = CANARY_PROMPTS) -> CanaryPrompt:
    """Return what to ask next: what a model may know, then in turn what it does."""
    profile = known.profile
    if known.level is Level.OK:
        open_ones = [each for each in prompts if 0 <= profile.known.get(each.name, 0) < KNOWN_AFTER]
        if open_ones:
            return min(open_ones, key=lambda each: profile.known.get(each.name, 0))
    right = [each for each in prompts if profile.knows(each.name)] or list(prompts)
    return right[known.n_canaries % len(right)]


def _knows(known: Watched) -> bool:
    """Return whether canaries tell anything of a model, as far as that is known."""
    tried = known.profile.known.values()
    can_know = len(CANARY_PROMPTS) - sum(right < 0 for right in tried)
    return can_know >= _FEWEST_KNOWN


def _conversation(prompt: CanaryPrompt) -> Conversation:
    return Conversation((Message(Role.USER, prompt.prompt),))
