"""The decision log that a command reads: of a data folder, or as `collect` wrote it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config import LoadedConfig
    from app.outcomes.export import Log


def open_log(
    config: "LoadedConfig | None", folder: Path | None, *, since: float, until: float
) -> "Log":
    """Return the decision log of a gateway, or of a folder of collected rows.

    Parameters
    ----------
    since, until
        In seconds since the epoch, the latter excluded.

    Raises
    ------
    DataError
        If there is none.
    """
    from app.outcomes.export import sqlite_log  # noqa: PLC0415
    from app.outcomes.sqlite import OUTCOMES_NAME  # noqa: PLC0415
    from routers.errors import DataError  # noqa: PLC0415

    if folder is not None or config is None:
        from app.outcomes.parquet import collected_log  # noqa: PLC0415

        assert folder is not None  # noqa: S101  (one of the two is there)
        return collected_log(folder, since=since, until=until)
    data_dir = config.data_dir
    if data_dir is None:
        raise DataError(
            f"{config.path}: store.data_dir is not set, so there is no decision log; with "
            "outcomes.sink redis give the folder of `steelyard collect` by --from"
        )
    if not (data_dir / OUTCOMES_NAME).exists():
        raise DataError(f"{data_dir / OUTCOMES_NAME}: there is none; has the gateway served yet?")
    return sqlite_log(data_dir, since=since, until=until)
