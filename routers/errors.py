"""The error family of the routing library."""


class RoutingError(Exception):
    """Anything the routing library refuses to do; the message says what would help."""


class RoutingConfigError(RoutingError):
    """A router, recipe or embedder was configured with something that does not exist or fit."""


class DataError(RoutingError):
    """Outcome data cannot be read or lacks what the task needs."""


class ArtifactError(RoutingError):
    """A trained artifact is missing, damaged or does not match what loads it."""


class NotFittedError(RoutingError):
    """A router was asked to predict before it was fitted."""


class NoEligibleModelError(RoutingError):
    """No candidate passes the hard constraints of a request.

    Parameters
    ----------
    exclusions
        Model id → human-readable reason, one entry per candidate.
    too_long
        Whether a shorter prompt would help: one of them was kept out by its context window alone.
    """

    def __init__(self, exclusions: dict[str, str], *, too_long: bool = False) -> None:
        self.exclusions = exclusions
        self.too_long = too_long
        listed = "; ".join(f"{model}: {reason}" for model, reason in exclusions.items())
        super().__init__(f"no model can take this request ({listed})")
