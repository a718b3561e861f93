"""The gateway's ways to balance, by their names in a configuration."""

from app.gateway.balance import LeastOutstanding, RoundRobin
from loadtest.sim.world import MakeBalance

BALANCES: dict[str, MakeBalance] = {
    "round-robin": RoundRobin,
    "least-outstanding": LeastOutstanding,
}
