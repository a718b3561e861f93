"""Where spending is read: what the configuration says of the decision log."""

from app.config import LoadedConfig
from app.spend.question import SpendSource
from app.spend.sqlite import SqliteSpend

NO_LOG = (
    "spending is read from the decision log, and there is none; set store.data_dir, or "
    "outcomes.sink: redis with a store of kind redis (and not outcomes.enabled: false)"
)


def spend_source(config: LoadedConfig) -> SpendSource | None:
    """Return where spending is read; None where no decision log is kept.

    Raises
    ------
    ConfigError
        If Redis has no address.
    """
    if not config.gateway.logs_decisions:
        return None
    if config.gateway.outcomes.sink == "redis":
        if config.redis_url is None:
            raise config.error(
                ("outcomes", "sink"),
                f"redis takes its address from {config.gateway.store.redis_url_env}, which is "
                "not set",
            )
        from app.spend.rows import RedisSpend  # noqa: PLC0415  (redis-py takes its time)

        return RedisSpend(config.redis_url, prefix=config.gateway.store.prefix)
    assert config.data_dir is not None  # noqa: S101  (the configuration was checked)
    return SqliteSpend(config.data_dir)
