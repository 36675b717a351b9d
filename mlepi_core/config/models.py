"""Section `models`: trained networks that a run takes instead of training its own."""

from __future__ import annotations

from mlepi_core.config.base import Section, setting


class ModelsSection(Section):
    """Model files; a network that has one is not trained, and its section of `training` is not used."""

    phonon: str | None = setting(None, description="trained phonon model; null: train one")
    electron: str | None = setting(None, description="trained electron model; null: train one")
