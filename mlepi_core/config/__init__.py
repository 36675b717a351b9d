"""Typed, validated configuration: one pydantic tree, one file per section."""

from mlepi_core.config.loader import ConfigError, label_files, load_config, read_yaml, validate
from mlepi_core.config.settings import Settings
from mlepi_core.config.stage import read_settings, read_stage_config, stage_config

__all__ = [
    "Settings",
    "ConfigError",
    "load_config",
    "validate",
    "read_yaml",
    "label_files",
    "stage_config",
    "read_stage_config",
    "read_settings",
]
