"""`steelyard explain`: what is predicted of every candidate for a prompt."""

from pathlib import Path

import click

from app.commands.config_option import config_option
from routers.commands.base import FiniteRange


@click.command()
@click.argument("prompt")
@click.option(
    "--cost-quality",
    "cost_quality",
    default=None,
    help="The knob: 0 to 1, economy, balanced or quality; default: the policy's.",
)
@click.option("--policy", default=None, help="Default: the configuration's default policy.")
@click.option(
    "--flags",
    default=None,
    help="What is wanted besides quality and price: `size=1, recency=.5, security=high`.",
)
@config_option("Configuration file.")
@click.option("--max-cost", type=FiniteRange(min=0), default=None, help="Hard limit in US dollars.")
@click.option("--max-latency-ms", default=None, help="Hard limit on the time of a whole answer.")
@click.option("--max-ttft-ms", default=None, help="The same on the time to its first token.")
@click.option("--latency-weight", default=None, help="What a second costs, in US dollars.")
@click.option("--task", default=None, help="One of the policy's tasks, or first>second.")
@click.option(
    "--documents",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="What the prompt brings for its answer to rest on: a JSON list, as in a request.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer of /v1/route instead.")
def explain(
    prompt: str,
    *,
    cost_quality: str | None,
    policy: str | None,
    flags: str | None,
    file: Path,
    max_cost: float | None,
    max_latency_ms: str | None,
    max_ttft_ms: str | None,
    latency_weight: str | None,
    task: str | None,
    documents: Path | None,
    as_json: bool,
) -> None:
    """Show what every candidate is predicted to do with PROMPT, and which one wins."""
    from app.commands.explanation import explain as run  # noqa: PLC0415

    run(
        prompt,
        file=file,
        cost_quality=cost_quality,
        policy=policy,
        flags=flags,
        max_cost_usd=max_cost,
        max_latency_ms=max_latency_ms,
        max_ttft_ms=max_ttft_ms,
        latency_weight=latency_weight,
        task=task,
        documents=documents,
        as_json=as_json,
    )
