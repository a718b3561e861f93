"""What the environment may set: where the configuration is and which key variables exist."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment of the service; everything else stands in the configuration file."""

    model_config = SettingsConfigDict(env_prefix="STEELYARD_", extra="ignore")

    config: Path = Path("configs/gateway.yaml")
    """`STEELYARD_CONFIG`: the configuration file to serve."""
