"""The typed configuration: one YAML file and the catalogue it names, validated at start."""

from app.config.allowances import (
    AllowanceConfig,
    AllowancesConfig,
    BudgetConfig,
    KeyAllowanceConfig,
    LimitsConfig,
    ShareConfig,
)
from app.config.batches import BatchesConfig
from app.config.catalogue import Catalogue, CatalogueEntry, PriceConfig
from app.config.gateway import GatewayConfig
from app.config.keeping import (
    CacheConfig,
    ContentsConfig,
    OutcomesConfig,
    ResponsesConfig,
    StoreConfig,
    TracesConfig,
)
from app.config.load import MIN_ADMIN_TOKEN_CHARS, load_config
from app.config.loaded import LoadedConfig
from app.config.models import DeploymentConfig, ModelConfig
from app.config.routing import (
    PRESETS,
    AffinityConfig,
    PairConfig,
    PolicyConfig,
    RouterConfig,
    StallsConfig,
    WorkflowConfig,
)
from app.config.server import AuthConfig, AuthMode, ServerConfig
from app.config.upstreams import BreakerConfig, StubConfig, TimeoutsConfig, UpstreamConfig

__all__ = [
    "MIN_ADMIN_TOKEN_CHARS",
    "PRESETS",
    "AffinityConfig",
    "AllowanceConfig",
    "AllowancesConfig",
    "AuthConfig",
    "AuthMode",
    "BatchesConfig",
    "BreakerConfig",
    "BudgetConfig",
    "CacheConfig",
    "Catalogue",
    "CatalogueEntry",
    "ContentsConfig",
    "DeploymentConfig",
    "GatewayConfig",
    "KeyAllowanceConfig",
    "LimitsConfig",
    "LoadedConfig",
    "ModelConfig",
    "OutcomesConfig",
    "PairConfig",
    "PolicyConfig",
    "PriceConfig",
    "ResponsesConfig",
    "RouterConfig",
    "ServerConfig",
    "ShareConfig",
    "StallsConfig",
    "StoreConfig",
    "StubConfig",
    "TimeoutsConfig",
    "TracesConfig",
    "UpstreamConfig",
    "WorkflowConfig",
    "load_config",
]
