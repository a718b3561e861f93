"""The names that a caller sees: what its key may not use, it is not told of."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from app.access.guard import Caller
from app.config.aliases import Aliases
from app.gateway.names import Names, Pair
from app.gateway.permissions import may_move_knob
from app.gateway.policy import Policy
from app.keys import KeyRecord
from routers.objectives import CostQuality

_MAX_VIEWS = 1024

_View = tuple[frozenset[str] | None, frozenset[str] | None, float | None, bool]


class VisibleNames:
    """The names of a gateway as each of its callers sees them; keys alike share a view."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._views: OrderedDict[_View, Names] = OrderedDict()

    def of(self, caller: Caller) -> Names:
        """Return the names for resolving a request of `caller`, and for listing.

        Every name still resolves, so that `permit` can say what is wrong with it. `auto` stands
        for the gateway's default policy, or for the first policy that the key may use if that is
        not among them, and goes by the key's own default knob.
        """
        key = caller.key
        if key is None:
            return self._names
        view = (key.models, key.policies, key.cost_quality, may_move_knob(key))
        names = self._views.get(view)
        if names is None:
            names = _seen_by(key, self._names)
            self._views[view] = names
            if len(self._views) > _MAX_VIEWS:
                self._views.popitem(last=False)
        return names


def _seen_by(key: KeyRecord, names: Names) -> Names:
    models = names.model_ids if key.models is None else names.model_ids & key.models
    policies = {
        name: policy
        for name, policy in names.policies.items()
        if (key.policies is None or name in key.policies)
        and any(spec.model_id in models for spec in policy.candidates)
    }
    default_policy = names.default_policy
    if default_policy not in policies:
        default_policy = next(iter(policies), default_policy)
    default = None if key.cost_quality is None else CostQuality(key.cost_quality)
    view = replace(names, default_policy=default_policy, default_objective=default)
    pairs = _pairs(key, names, policies, models)
    seen = replace(view, model_ids=models, policies=policies, pairs=pairs, aliases=Aliases({}))
    seen = replace(seen, aliases=_aliases(replace(view, shown=seen.listed())))
    return replace(view, shown=seen.listed())


def _aliases(view: Names) -> Aliases:
    """Return the aliases that stand for something a caller may use."""
    aliases = view.aliases
    return Aliases(
        {name: target for name, target in aliases.exact.items() if view.shows(target)},
        tuple(each for each in aliases.patterns if view.shows(each[1])),
    )


def _pairs(
    key: KeyRecord, names: Names, policies: Mapping[str, Policy], models: frozenset[str]
) -> Mapping[str, Pair]:
    if not may_move_knob(key):
        return {}
    return {
        name: pair
        for name, pair in names.pairs.items()
        if pair.policy.name in policies and {pair.strong, pair.weak} & models
    }
