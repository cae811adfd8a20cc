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
from clozelm.hub.prompt import LoadedPrompt, has_task, is_prompt, load_prompt, new_prompt, save_prompt
from clozelm.hub.save import save
from clozelm.hub.seq2seq import LoadedSeq2Seq, load_seq2seq, save_seq2seq

__all__ = [
    "Fetched",
    "Loaded",
    "LoadedClassifier",
    "LoadedPrompt",
    "LoadedSeq2Seq",
    "fetch",
    "has_task",
    "is_classifier",
    "is_prompt",
    "load",
    "load_classifier",
    "load_prompt",
    "load_seq2seq",
    "model_directory",
    "new_classifier",
    "new_prompt",
    "save",
    "save_classifier",
    "save_prompt",
    "save_seq2seq",
]
