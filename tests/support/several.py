"""Models that say what they are told to, and policies of several calls over them."""

from collections.abc import Mapping
from typing import Any

from tests.support.scoring_server import ScoringServer, answer, pieces

NANO, MINI, LARGE, JUDGE = "sim-nano", "sim-small", "sim-large", "sim-medium"
CANDIDATES = [NANO, MINI, LARGE]
JUDGED = {"kind": "judge", "model": JUDGE, "deadline_s": 20.0}
VERIFIER = {**JUDGED, "auc": 0.8}
OPTION = {"normaliser": "option"}

THRESHOLD = {
    "kind": "learned_threshold",
    "cheap": NANO,
    "strong": LARGE,
    "verifier": VERIFIER,
    "learner": "greedy",
    "shadow": 1.0,
    "checked": 1.0,
}

WORKFLOWS: Mapping[str, Mapping[str, Any]] = {
    "agree": {"kind": "agree", "models": [NANO, MINI], "last": LARGE, **OPTION},
    "vote": {"kind": "agree", **OPTION},
    "samples": {"kind": "best_of", "model": NANO, "n": 3, **OPTION},
    "best": {"kind": "best_of", "models": [NANO, MINI], "chooser": JUDGED},
    "capped": {"kind": "agree", "max_calls": 2, **OPTION},
    "frugal": {"kind": "agree", "max_cost_usd": 1e-3, **OPTION},
    "hasty": {"kind": "agree", "models": [NANO, MINI], "last": LARGE, "max_time_s": 3.0, **OPTION},
    "guarded": {"kind": "guarded", "slow": {"model": JUDGE, "deadline_s": 20.0}},
    "restricted": {
        "kind": "guarded",
        "slow": {"model": JUDGE, "deadline_s": 20.0},
        "when_harmful": {"models": [NANO, MINI]},
        "then": {"kind": "agree", "models": [NANO, MINI], "last": LARGE, **OPTION},
    },
    "rounds": {"kind": "rounds", "planner": JUDGE, "about": {NANO: "knows cities"}},
    "guarded_rounds": {
        "kind": "guarded",
        "slow": {"model": JUDGE, "deadline_s": 20.0},
        "when_harmful": {"models": [NANO, MINI]},
        "then": {"kind": "rounds", "planner": JUDGE},
    },
    "guarded_debate": {
        "kind": "guarded",
        "slow": {"model": JUDGE, "deadline_s": 20.0},
        "when_harmful": {"models": [NANO, MINI]},
        "then": {"kind": "agents", "modes": ["debate"], "max_agents": 2},
    },
    "few_rounds": {"kind": "rounds", "planner": JUDGE, "max_calls": 3},
    "hasty_rounds": {"kind": "rounds", "planner": JUDGE, "max_time_s": 3.0},
    "debate": {"kind": "agents", "modes": ["debate"], "max_agents": 2},
    "reflection": {"kind": "agents", "modes": ["reflection"], "max_agents": 2},
    "alone_io": {"kind": "agents", "modes": ["io"]},
    "alone_cot": {"kind": "agents", "modes": ["cot"]},
    "cascade": {"kind": "cascade", "stages": CANDIDATES, "acceptor": JUDGED},
    "learning": {
        "kind": "contextual-cascade",
        "candidates": CANDIDATES,
        "verifier": VERIFIER,
        "value_usd": 1.0,
        "checked": 0.0,
    },
    "threshold": THRESHOLD,
    "moving": THRESHOLD,
}


class Models(ScoringServer):
    """Models behind one upstream: each says its text, or what a function makes of the request."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, object] = {}
        self.answer = self._answer

    def reset(self) -> None:
        """Forget what was asked; all models agree from now on."""
        self.bodies.clear()
        self.hung_up.clear()
        self.said = {NANO: "The answer is (B).", MINI: "B", LARGE: "(B)", JUDGE: "4"}

    @property
    def asked(self) -> list[str]:
        """Who was asked, in order of arrival."""
        return [body["model"] for body in self.bodies]

    def _answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        said = self.said[body["model"]]
        if callable(said):
            said = said(body)
        if isinstance(said, tuple):
            return said[0], said[1]
        whole = answer(str(said))
        whole["model"] = body["model"]
        return 200, pieces(whole) if body.get("stream") else whole


def changes_for(url: str, workflows: Mapping[str, Mapping[str, Any]] = WORKFLOWS) -> dict[str, Any]:
    """Return a configuration in which a policy has the name of its workflow."""
    return {
        "upstreams.stub": {"kind": "openai", "base_url": f"{url}/v1", "retries": 0},
        "routers": {"carrot": {"artifact": "default"}},
        "policies": {
            name: {
                "router": "carrot",
                "candidates": CANDIDATES,
                "default_model": LARGE,
                "router_deadline_s": 20.0,
                "workflow": workflow,
            }
            for name, workflow in workflows.items()
        },
        "default_policy": next(iter(workflows)),
    }
