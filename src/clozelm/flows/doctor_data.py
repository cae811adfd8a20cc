"""The checks of a token store: repetition, leaks, cuts, pieces, packing, size."""

from __future__ import annotations

import numpy as np

from clozelm.errors import DataError
from clozelm.flows.doctor_finding import Check, Finding, NotCheckedError
from clozelm.flows.doctor_store import LONG_SENTENCE, StoreFacts, repeated

DAMAGED = "damaged files"  # looked for before anything is made of the tokens
_FEW_DOCUMENTS = 20


def damaged(facts: StoreFacts) -> Finding | None:
    """Find files whose checksum is not the manifest's, held-out text included."""
    try:
        for store in (facts.store, facts.held_out):
            if store is not None:
                store.verify()
    except DataError as error:
        why = "Some tokens are not those that were prepared; training on them teaches noise."
        return Finding("error", str(error), why, "Prepare the corpus again.")
    return None


def duplicate_documents(facts: StoreFacts) -> Finding | None:
    """Find documents that repeat an earlier one exactly."""
    share = repeated(facts.hashes.documents[facts.lengths > 0])
    if share < 0.01:
        return None
    return Finding(
        "error" if share > 0.3 else "warning",
        f"{share:.1%} of the documents repeat an earlier one exactly.",
        "Repeats are learned by heart instead of language, and cost as much as new text (Lee et al. 2022, "
        '"Deduplicating training data makes language models better").',
        "Prepare the corpus again with `cloze prepare --dedup`.",
    )


def duplicate_sentences(facts: StoreFacts) -> Finding | None:
    """Find long sentences or lines that occur again and again, as menus and licences do."""
    hashes = facts.hashes
    if len(hashes.sentences) < 100:
        raise NotCheckedError(f"too few sentences of {LONG_SENTENCE} or more tokens")
    of_documents = repeated(hashes.documents[facts.lengths > 0])
    share = repeated(hashes.sentences)
    if share < 0.1 or share < 1.5 * of_documents:
        return None
    return Finding(
        "warning",
        f"{share:.1%} of the sentences and lines of {LONG_SENTENCE} or more tokens repeat an earlier one.",
        "Boilerplate (menus, licences, headers) takes steps away from text.",
        "Look at repeated lines; drop them with `--set filters.max_repeated_line_share=0.3` or before preparing.",
    )


def leak(facts: StoreFacts) -> Finding | None:
    """Find held-out documents, or many of their long sentences, in the training text."""
    held = facts.held_out_hashes
    if facts.held_out is None or held is None:
        raise NotCheckedError("there is no held-out text in the store")
    documents = held.documents[np.diff(facts.held_out.offsets) > 0]
    share = float(np.isin(documents, facts.hashes.documents).mean()) if documents.size else 0.0
    lines = float(np.isin(held.sentences, facts.hashes.sentences).mean()) if held.sentences.size else 0.0
    if share < 0.005 and lines < 0.1:
        return None
    what = f"{share:.1%} of the held-out documents" if share >= 0.005 else f"{lines:.1%} of the held-out sentences"
    return Finding(
        "error" if share > 0.05 or lines > 0.3 else "warning",
        f"{what} are also in the training text.",
        "The held-out loss then measures memory: it looks better than it is, and overfitting does not show.",
        "Prepare again with --dedup, or hold out text of other sources or of a later time.",
    )


def held_out_text(facts: StoreFacts) -> Finding | None:
    """Find out whether there is held-out text, and enough of it."""
    held = facts.held_out
    if held is None:
        what = "No text is held out."
    elif held.num_documents < _FEW_DOCUMENTS or held.num_tokens < 5_000:
        what = f"Only {held.num_tokens:,} tokens in {held.num_documents:,} documents are held out."
    else:
        return None
    why = "Without a held-out loss nobody sees overfitting; one on little text is mostly chance."
    return Finding(
        "note", what, why, "Prepare with --hold-out 0.01 or more, or pass --heldout to `cloze pretrain`."
    )


def truncated_documents(facts: StoreFacts) -> Finding | None:
    """Find a length that many documents stop at, and documents cut while they were read."""
    cut = int(facts.store.manifest.get("repaired", {}).get("cut_documents", 0))
    lengths = facts.lengths[facts.lengths > 0]
    longest = int(lengths.max(initial=0))
    at_end = int((lengths >= longest - max(1, longest // 500)).sum())
    share = at_end / max(lengths.size, 1)
    is_wall = lengths.size >= _FEW_DOCUMENTS and longest >= 32 and share > 0.05
    if is_wall:
        what = f"{share:.1%} of the documents end at the same length, {longest:,} tokens: they look cut off."
    elif cut > 0.01 * facts.store.num_documents:
        what = f"{cut:,} documents were cut while they were read, being longer than max_document_characters."
    else:
        return None
    return Finding(
        "warning",
        what,
        "What is cut off is lost for training, and sentences end in the middle.",
        "Give whole documents: rows are packed here, so that nothing has to be cut to the length of a row.",
    )


def fertility(facts: StoreFacts) -> Finding | None:
    """Find a tokenizer that needs many pieces a word."""
    text = facts.store.manifest.get("text", {})
    words, characters = int(text.get("words", 0)), int(text.get("characters", 0))
    if not words:
        raise NotCheckedError("the manifest does not count words")
    if characters / words > 15:
        raise NotCheckedError("the text does not put spaces between words")
    pieces = facts.store.num_tokens / words
    if pieces < 2.5:
        return None
    return Finding(
        "warning",
        f"A word takes {pieces:.2f} pieces on average.",
        "Sequences are long and pieces say little: the tokenizer was made for other text, or is too small.",
        "Train one on this text: `cloze tokenizer train`, with a larger --vocab-size.",
    )


def unknown_pieces(facts: StoreFacts) -> Finding | None:
    """Find text that the tokenizer cannot write."""
    unknown = facts.tokenizer.vocabulary.unk_id
    if unknown is None:
        return None
    share = float(facts.counts[unknown] / max(facts.store.num_tokens, 1))
    if share < 0.005:
        return None
    return Finding(
        "error" if share > 0.05 else "warning",
        f"{share:.1%} of the tokens are the unknown piece.",
        "What is unknown cannot be read, predicted or written; it is lost without a trace.",
        "Train a tokenizer on this text, or use a byte-level one (--kind bpe), which knows everything.",
    )


def special_tokens(facts: StoreFacts) -> Finding | None:
    """Find special tokens, such as padding, among the documents' tokens."""
    vocabulary = facts.tokenizer.vocabulary
    ids = sorted(vocabulary.special_ids - {vocabulary.unk_id})
    share = float(facts.counts[ids].sum() / max(facts.store.num_tokens, 1))
    if share == 0.0:
        return None
    most = max(ids, key=lambda each: int(facts.counts[each]))
    return Finding(
        "error" if share > 0.01 else "warning",
        f"{share:.1%} of the stored tokens are special ones, mostly {facts.tokenizer.token(most)}.",
        "Rows are given their special tokens when they are packed; stored ones are padding or markup read as text.",
        "Prepare the store with `cloze prepare`, which stores none.",
    )


def unused_vocabulary(facts: StoreFacts) -> Finding | None:
    """Find a vocabulary much of which the text never uses."""
    counts = facts.counts[facts.tokenizer.vocabulary.ordinary_ids]
    if facts.store.num_tokens < 20 * counts.size:
        raise NotCheckedError("too little text to tell which pieces are never used")
    share = float((counts == 0).mean())
    if share < 0.2:
        return None
    return Finding(
        "warning",
        f"{share:.0%} of the vocabulary's {counts.size:,} pieces never occur.",
        "Their embeddings take memory and time in every step and are never trained.",
        "Train a tokenizer on this text with fewer pieces.",
    )


def packing(facts: StoreFacts) -> Finding | None:
    """Find rows that are much padding."""
    if facts.store.num_tokens < 20 * facts.row_length:
        raise NotCheckedError(f"the text fills fewer than 20 rows of {facts.row_length}")
    if facts.fill > 0.95:
        return None
    return Finding(
        "warning",
        f"Rows of {facts.row_length} are only {facts.fill:.1%} full.",
        "The rest is padding, which costs memory and teaches nothing.",
        "Use another data.row_length, or look at why documents fit so badly.",
    )


def document_length(facts: StoreFacts) -> Finding | None:
    """Find documents too short to have a context."""
    lengths = facts.lengths[facts.lengths > 0]
    middle = float(np.median(lengths)) if lengths.size else 0.0
    if middle >= 10:
        return None
    return Finding(
        "warning",
        f"Half of the documents have at most {middle:.0f} tokens.",
        "A masked piece is guessed from its document alone; single lines give it next to no context.",
        "If these are lines of longer texts, prepare with `--set documents=block` or `documents=file`.",
    )


def size(facts: StoreFacts) -> Finding | None:
    """Find a store too small to learn a language from."""
    if facts.store.num_tokens >= 200_000:
        return None
    return Finding(
        "note",
        f"The store has {facts.store.num_tokens:,} tokens.",
        "That is enough to try things out and too little to pretrain on: it will be learned by heart.",
        "Add text, or begin with a trained model (`cloze adapt`).",
    )


DATA_CHECKS: dict[str, Check[StoreFacts]] = {
    DAMAGED: damaged,
    "duplicate documents": duplicate_documents,
    "duplicate sentences": duplicate_sentences,
    "leak": leak,
    "held-out text": held_out_text,
    "truncated documents": truncated_documents,
    "fertility": fertility,
    "unknown pieces": unknown_pieces,
    "special tokens as text": special_tokens,
    "unused vocabulary": unused_vocabulary,
    "packing": packing,
    "document length": document_length,
    "size of the corpus": size,
}


def counts(facts: StoreFacts) -> dict[str, str]:
    """Return what the manifest alone says of a store."""
    return {
        "tokens": f"{facts.store.num_tokens:,} in {facts.store.num_documents:,} documents",
        "vocabulary": f"{facts.store.vocab_size:,} pieces",
    }


def data_facts(facts: StoreFacts) -> dict[str, str]:
    """Return what a reader wants to know of any store."""
    text = facts.store.manifest.get("text", {})
    said = counts(facts)
    if text.get("words"):
        said["pieces a word"] = f"{facts.store.num_tokens / text['words']:.2f}"
    if facts.store.num_tokens:
        longer = float((facts.lengths > facts.row_length - 2).mean())
        lost = np.maximum(facts.lengths - (facts.row_length - 2), 0).sum() / facts.store.num_tokens
        said["longer than a row"] = (
            f"{longer:.1%} of the documents at {facts.row_length}; cutting them there would lose {lost:.1%} of the "
            "tokens (packing loses none)"
        )
        said["packing"] = f"{facts.fill:.1%} full"
    if facts.held_out is not None:
        said["held out"] = f"{facts.held_out.num_tokens:,} tokens in {facts.held_out.num_documents:,} documents"
    return said
