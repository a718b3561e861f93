"""Files and batches, and who works at them; none where the configuration has none."""

from dataclasses import dataclass

from app.access.guard import Guard
from app.assembly.resources import DAY_S
from app.batches.clock import StoreClock
from app.batches.desk import Desk
from app.batches.door import Door
from app.batches.files import Files
from app.batches.runner import Runner, Told
from app.config import GatewayConfig
from app.stores.base import Store
from app.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Everything that there is for batches."""

    files: Files
    desk: Desk
    runner: Runner


def build_batches(
    config: GatewayConfig, store: Store, *, guard: Guard, door: Door, metrics: Metrics
) -> Batches | None:
    """Build what keeps files and works at batches; None where there are none."""
    batches, server = config.batches, config.server
    if store.jobs is None:
        return None
    clock = StoreClock(jobs=store.jobs)
    files = Files(
        jobs=store.jobs,
        clock=clock,
        lifetime_s=batches.keep_days * DAY_S,
        max_stored_bytes=batches.max_stored_mb_per_key * 1_000_000,
    )
    runner = Runner(
        jobs=store.jobs,
        clock=clock,
        files=files,
        door=door,
        caller_of=guard.caller_of,
        max_running=batches.max_running,
        concurrency=batches.concurrency,
        max_lines=batches.max_lines,
        max_line_bytes=server.max_body_bytes,
        lease_s=batches.lease_s,
        grace_s=server.shutdown_grace_s,
        told=Told(
            running=metrics.batches.running,
            line=metrics.batches.line,
            over=metrics.batches.over,
            standing=lambda found: metrics.batches.stand(
                found.by_status,
                oldest_s=found.oldest_s,
                idle_s=found.idle_s,
                spent_usd=found.spent_usd,
                budget_usd=found.budget_usd,
            ),
        ),
    )
    desk = Desk(jobs=store.jobs, files=files, clock=clock, wake=runner.wake)
    return Batches(files=files, desk=desk, runner=runner)
