"""Models on disk: plain Hugging Face directories, downloaded, opened and written."""

from __future__ import annotations

from clozelm.hub.fetch import Fetched, fetch
from clozelm.hub.load import Loaded, load, model_directory
from clozelm.hub.save import save
from clozelm.hub.seq2seq import LoadedSeq2Seq, load_seq2seq, save_seq2seq

__all__ = [
    "Fetched",
    "Loaded",
    "LoadedSeq2Seq",
    "fetch",
    "load",
    "load_seq2seq",
    "model_directory",
    "save",
    "save_seq2seq",
]
