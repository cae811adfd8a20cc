"""Models on disk: plain Hugging Face directories, downloaded, opened and written."""

from __future__ import annotations

from clozelm.hub.classifier import (
    LoadedClassifier,
    is_classifier,
    load_classifier,
    new_classifier,
    save_classifier,
)
from clozelm.hub.fetch import Fetched, fetch
from clozelm.hub.load import Loaded, load, model_directory
from clozelm.hub.save import save
from clozelm.hub.seq2seq import LoadedSeq2Seq, load_seq2seq, save_seq2seq

__all__ = [
    "Fetched",
    "Loaded",
    "LoadedClassifier",
    "LoadedSeq2Seq",
    "fetch",
    "is_classifier",
    "load",
    "load_classifier",
    "load_seq2seq",
    "model_directory",
    "new_classifier",
    "save",
    "save_classifier",
    "save_seq2seq",
]
