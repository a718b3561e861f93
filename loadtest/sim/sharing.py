"""What replicas tell each other, and how late it is heard."""

from functools import partial

from app.gateway.deployments.balance import News
from loadtest.sim.world import World


def share(world: World, *, interval_s: float, delay_s: float, believed: bool = False) -> None:
    """Let replicas tell each other their calls, again and again, heard after a delay.

    Parameters
    ----------
    believed
        Whether the news are told as if nobody had begun a call since: how balancing by shared
        counts goes wrong.
    """
    keys = {(each.name, each.model_id): each.model_id for each in world.places}
    models = set(keys.values())
    begun: dict[str, float] = dict.fromkeys(models, 0.0)

    def tell() -> None:
        now = world.clock.now
        said = [
            {
                (slot.deployment.upstream, slot.deployment.upstream_model): slot.outstanding
                for slot in pool.slots()
            }
            for pool in world.pools
        ]
        totals = {key: sum(each[key] for each in said) for key in keys}
        others = 1 - 1 / len(world.pools)
        for model_id in models:
            count = float(world.begun(model_id))
            per_s = 0.0 if believed else (count - begun[model_id]) / interval_s * others
            begun[model_id] = count
            for pool, own in zip(world.pools, said, strict=True):
                news = News(
                    at=now,
                    outstanding={
                        key: totals[key] - own[key] for key, of in keys.items() if of == model_id
                    },
                    begun_per_s=per_s,
                )
                world.at(now + delay_s, partial(pool.heard, model_id, news))

    world.every(interval_s, tell)
