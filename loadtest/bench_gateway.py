"""What the gateway costs per request, beside others: processor time, latency, memory, start.

    python -m loadtest.bench_gateway             everything; about 20 minutes with all peers
    python -m loadtest.bench_gateway --quick     ours alone, against the last committed result
    python -m loadtest.bench_gateway --only pinned --rounds 3 --no-peers --out somewhere.json

The gateways run side by side, each in one process on the first core; upstream and load generator
have the others. Each round goes through all of them, every second one backwards. Writes
`loadtest/results/overhead.json` and, from it, `docs/benchmarks/overhead.md`.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtest import report
from loadtest.gateways import BARE, FULL, REDIS, Variant, direct, redis_path, running
from loadtest.measuring import Bench, rounds, summary
from loadtest.peers import PEER_GATEWAYS, Target
from loadtest.processes import Cores, Helper, end_on_sigterm, machine
from loadtest.scenarios import SCENARIOS, Scenario

_QUICK = (
    "pinned, 1 connection",
    "pinned, 64 connections",
    "routed, 1 connection",
    "routed, 64 connections",
    "long prompt, routed",
    "stream in a burst, pinned",
    "stream paced, pinned",
)
_REDIS_ONLY = ("pinned, 1 connection", "pinned, 64 connections", "routed, 1 connection")


def gets(scenario: Scenario, target: Target) -> bool:
    """Return whether a target takes part in a scenario."""
    if target.name == "direct":
        return True
    if target.name == REDIS.name:
        return scenario.name in _REDIS_ONLY or scenario.mode == "open"
    if target.routed_model is None:
        return scenario.peers
    return True


def measure(
    scenarios: Sequence[Scenario],
    variants: Sequence[Variant],
    *,
    n: int,
    seconds: float,
    peers: bool,
    keep: int | None = None,
) -> dict[str, Any]:
    """Run every scenario on every target that takes part in it."""
    result: dict[str, Any] = {
        "machine": machine(),
        "rounds": n,
        "rounds_kept": keep or n,
        "seconds": seconds,
        "versions": {},
        "skipped": {},
        "starts": {},
        "scenarios": {},
    }
    skipped: dict[str, str] = result["skipped"]
    cores = Cores.of_this_machine()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(Helper("loadtest.upstream", cores=cores.around))
        port = upstream.hear()["port"]
        bench = Bench(directory=directory, cores=cores, seconds=seconds)
        possible = variants if redis_path() else [each for each in variants if not each.redis]
        targets = [direct(port)]
        targets += [stack.enter_context(running(each, port, directory, cores)) for each in possible]
        if peers:
            targets += _peers(stack, port, directory, cores, skipped)
        for target in targets:
            if target.process is not None:
                result["versions"][target.name] = target.version
                result["starts"][target.name] = {
                    "ready_s": round(target.process.ready_s, 2),
                    "idle_mb": target.process.memory_mb(),
                }
        for scenario in scenarios:
            chosen = [target for target in targets if gets(scenario, target)]
            cells = rounds(bench, scenario, chosen, n=n, skipped=skipped, keep=keep)
            result["scenarios"][scenario.name] = summary(cells)
            print(report.lines_of(scenario.name, result["scenarios"][scenario.name]), flush=True)
        for target in targets:
            if target.process is not None:
                result["starts"][target.name]["after_mb"] = target.process.memory_mb()
    result["machine"]["load_average_after"] = [round(each, 2) for each in os.getloadavg()]
    return result


def _peers(
    stack: contextlib.ExitStack,
    port: int,
    directory: Path,
    cores: Cores,
    skipped: dict[str, str],
) -> list[Target]:
    targets = []
    for peer in PEER_GATEWAYS:
        if not peer.installed:
            skipped[peer.name] = "not installed; `make peers`"
            continue
        try:
            targets.append(stack.enter_context(peer.start(peer.home, port, directory, cores)))
        except (RuntimeError, OSError) as error:
            skipped[peer.name] = str(error)[:300]
    return targets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=int, help="only the rounds with the least other work")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--out", type=Path, help="write the result there, and no report")
    arguments = parser.parse_args()
    end_on_sigterm()
    chosen = [
        each
        for each in SCENARIOS
        if (not arguments.quick or each.name in _QUICK) and (arguments.only or "") in each.name
    ]
    if arguments.quick:
        result = measure(
            chosen,
            (FULL,),
            n=arguments.rounds or 3,
            seconds=arguments.seconds or 1.0,
            peers=False,
            keep=arguments.keep,
        )
        print(report.against(result, msgspec.json.decode(report.OVERHEAD.read_bytes())))
        return
    result = measure(
        chosen,
        (BARE, FULL, REDIS),
        n=arguments.rounds or 5,
        seconds=arguments.seconds or 2.0,
        peers=not arguments.no_peers,
        keep=arguments.keep,
    )
    if arguments.out is not None:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
        return
    report.OVERHEAD.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    report.refresh()


if __name__ == "__main__":
    main()
