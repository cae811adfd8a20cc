"""Models on disk: plain Hugging Face directories, downloaded, opened and written."""

from __future__ import annotations

from clozelm.hub.fetch import Fetched, fetch
from clozelm.hub.load import Loaded, load, model_directory
from clozelm.hub.save import save

__all__ = ["Fetched", "Loaded", "fetch", "load", "model_directory", "save"]
