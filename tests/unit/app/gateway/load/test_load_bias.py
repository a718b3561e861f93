"""When the prices of load are moved, and by how much time."""

import random

from app.gateway.deployments.pool import DeploymentPool
from app.gateway.load.load_bias import LOAD_EVERY_S, LoadBiases
from app.stores.memory import MemoryStore


class Told:
    """Stands for what a policy makes of its load: keeps how much time it is told to have passed."""

    def __init__(self):
        self.seconds = []

    async def exchange(self, _registers, _counts, seconds, **_limits):
        self.seconds.append(seconds)


async def test_whoever_comes_late_moves_nothing_and_no_time_is_counted_twice():
    told = Told()
    pool = DeploymentPool({}, clock=lambda: 0.0, rng=random.Random(1))
    biases = LoadBiases({"default": told}, pool)
    registers = MemoryStore(None).store.registers
    for now in (10.0, 14.0, 11.0, 14.0, 17.0):
        await biases.exchange(registers, now)
    assert told.seconds == [LOAD_EVERY_S, 4.0, 3.0]
