"""Models on disk: plain Hugging Face directories, opened and written."""

from __future__ import annotations

from clozelm.hub.load import Loaded, load
from clozelm.hub.save import save

__all__ = ["Loaded", "load", "save"]
