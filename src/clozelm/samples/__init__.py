"""Text that ships with the package, with its licence beside it."""

from pathlib import Path

ABSTRACTS = Path(__file__).parent / "acl_abstracts.jsonl.xz"
SENTENCES = Path(__file__).parent / "cloze.tsv"
