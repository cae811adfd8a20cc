"""How settings are declared: frozen sections, and one line a setting."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen table of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(default: Any, meaning: str, source: str = "", **bounds: Any) -> Any:
    """Declare one setting: default, meaning, the source of the default, and its bounds."""
    return Field(default, description=meaning, json_schema_extra={"source": source}, **bounds)
