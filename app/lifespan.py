"""From the start of an application to its end: what is opened, what runs beside its requests."""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import AsyncGenerator
from functools import partial

from fastapi import FastAPI

from app import __version__
from app.api import ops
from app.assembly.batches import Batches
from app.assembly.gauges import sample_forever, weigh_load_forever
from app.assembly.reload import Reloader
from app.gateway.deployments.news import NewsExchange
from app.gateway.deployments.watched_machines import watch_machines
from app.gateway.lessons import LESSONS_EVERY_S
from app.gateway.watch.canaries import LOOK_EVERY_S
from app.gateway.watch.provider_watch import KEEP_EVERY_S
from app.server.signals import drain_before_exit, on_hangup
from app.state import AppState
from app.telemetry.exposition import MetricsServer

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Open what the application owns, work beside its requests, and close it all again."""
    state: AppState = app.state.steelyard
    reloader: Reloader = app.state.reloader
    server = state.config.gateway.server
    await state.store.open()
    decisions = state.resources.decisions
    if decisions is not None:
        await decisions.log.open()
    pupils = state.resources.pupils
    await pupils.keep_in_time()
    batches: Batches | None = app.state.batches
    watch, canaries = state.resources.watch, state.resources.canaries
    await watch.keep_in_time()
    beside = [
        asyncio.create_task(work, name=name)
        for name, work in {
            "keep what is learned": pupils.keep_forever(partial(_by_turns_s, LESSONS_EVERY_S)),
            "take in feedback": state.resources.memories.take_in_forever(),
            "watch over models": watch.keep_forever(partial(_by_turns_s, KEEP_EVERY_S)),
            "ask canaries": canaries.ask_forever(partial(_by_turns_s, LOOK_EVERY_S)),
            "exchange news": _exchange_news(state),
            "weigh the load": weigh_load_forever(state),
            "ask machines what they have loaded": watch_machines(
                lambda: state.serving.machines,
                state.resources.clock,
                on_failure=state.metrics.machines.unread,
            ),
            "sample for the metrics": sample_forever(state),
            "watch the load": state.watch.run(),
            "look for batches": _work_at_batches(batches),
        }.items()
    ]
    with (
        _metrics_port(state, app.state.host),
        on_hangup(reloader.reload_soon) if app.state.reloads_itself else contextlib.nullcontext(),
        drain_before_exit(state.readiness.drain, seconds=server.drain_s),
    ):
        state.readiness.ready = True
        _log.info(
            "started",
            extra={
                "fields": {
                    "version": __version__,
                    "config": str(state.config.path),
                    "config_version": state.gateway.config_version,
                    "pid": os.getpid(),
                }
            },
        )
        try:
            yield
        finally:
            state.readiness.ready = False
            for task in beside:
                task.cancel()
            if batches is not None:
                await batches.runner.aclose()
            await asyncio.gather(*beside, return_exceptions=True)
            await reloader.aclose()
            await state.serving.aclose()
            await pupils.keep_in_time()
            await watch.keep_in_time()
            state.resources.drain()
            app.state.refusals.tell_of_the_rest()
            if decisions is not None:
                await decisions.log.aclose()
            if state.resources.tracer is not None:
                await asyncio.to_thread(state.resources.tracer.close)
            await state.store.aclose()


async def _work_at_batches(batches: Batches | None) -> None:
    if batches is not None:
        await batches.runner.run()


async def _exchange_news(state: AppState) -> None:
    """Tell other gateways what runs here, where there may be some and it matters to them."""
    board = state.store.store.board
    if board is None:
        return
    exchange = NewsExchange(board, pool=lambda: state.serving.pool, clock=state.resources.clock)
    await exchange.exchange_forever(lambda: state.config.gateway.store.news_every_s)


def _by_turns_s(every_s: float) -> float:
    """Return when to do next what is done so often; processes take turns by chance."""
    # Of the system, as whoever seeds `random` in this process is not to find it drawn from.
    return random.SystemRandom().uniform(0.5, 1.5) * every_s


def _metrics_port(state: AppState, host: str) -> contextlib.AbstractContextManager[object]:
    """Serve `/metrics` on a port of its own, where one is configured.

    Several workers cannot share a port of one answer each: `steelyard serve` then does it.
    """
    server = state.config.gateway.server
    if server.metrics_port is None or state.metrics.workers_dir is not None:
        return contextlib.nullcontext()
    return MetricsServer(
        host,
        server.metrics_port,
        render=state.metrics.render,
        refusal=ops.metrics_refusal(state.config, host=host),
    )
