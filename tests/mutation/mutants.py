"""Inject known defects, one at a time, into a copy of the package; tests that stay green are too weak.

Run `python -m tests.mutation.mutants` from the project's folder, with names to try only those.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASKING = "tests/properties/test_masking.py"
PACKING = "tests/data/test_pack.py"
LOADER = "tests/data/test_loader.py"


@dataclass(frozen=True)
class Mutant:
    """One defect: in `file`, `old` (found exactly once) becomes `new`, and one of `tests` must fail.

    The quick ones are tried in every run of the tests, the others with the slow tests.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    is_quick: bool = False


MUTANTS = (
    Mutant(
        "special_token_selected",
        "masking/mask.py",
        "may_mask = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]",
        "may_mask = rows.doc_ids > 0",
        (f"{MASKING}::test_the_contract",),
        is_quick=True,
    ),
    Mutant(
        "unknown_token_not_special",
        "vocab.py",
        "if self.unk_id is not None:",
        "if self.unk_id is None:",
        ("tests/test_rng.py::test_named_ids_are_special_even_if_not_listed",),
        is_quick=True,
    ),
    Mutant(
        "padding_selected",
        "masking/mask.py",
        "may_mask = (rows.doc_ids > 0) & ~vocabulary.is_special[rows.input_ids]",
        "may_mask = (rows.doc_ids == 0) | ~vocabulary.is_special[rows.input_ids]",
        (f"{MASKING}::test_the_contract",),
    ),
    Mutant(
        "replacement_from_the_batch",
        "masking/mask.py",
        "ordinary = vocabulary.ordinary_ids\n",
        "ordinary = np.setdiff1d(input_ids, sorted(vocabulary.special_ids))\n",
        (f"{MASKING}::test_replacements_come_from_the_whole_ordinary_vocabulary",),
    ),
    Mutant(
        "replacement_may_be_special",
        "masking/mask.py",
        "ordinary = vocabulary.ordinary_ids\n",
        "ordinary = np.arange(vocabulary.size)\n",
        (f"{MASKING}::test_replacements_come_from_the_whole_ordinary_vocabulary",),
    ),
    Mutant(
        "global_generator",
        "masking/mask.py",
        'rng = generator(seed, "mask", epochs[row], row_id)',
        "rng = np.random.mtrand.default_rng(np.random.randint(1 << 30))",
        (f"{MASKING}::test_a_row_does_not_depend_on_its_batch",),
    ),
    Mutant(
        "one_generator_for_the_batch",
        "masking/mask.py",
        'rng = generator(seed, "mask", epochs[row], row_id)',
        'rng = rng if row else generator(seed, "mask", epochs[row], row_id)',
        (f"{MASKING}::test_a_row_does_not_depend_on_its_batch",),
    ),
    Mutant(
        "epoch_ignored",
        "masking/mask.py",
        'generator(seed, "mask", epochs[row], row_id)',
        'generator(seed, "mask", row_id)',
        (f"{MASKING}::test_every_coordinate_changes_the_masks",),
    ),
    Mutant(
        "input_changed_in_place",
        "masking/mask.py",
        "masked = input_ids.astype(np.int64)",
        "masked = input_ids.astype(np.int64, copy=False)",
        (f"{MASKING}::test_the_contract",),
    ),
    Mutant(
        "labels_are_the_masked_ids",
        "masking/mask.py",
        "labels[row, column] = original",
        "labels[row, column] = corrupted",
        (f"{MASKING}::test_the_contract",),
    ),
    Mutant(
        "pieces_of_a_word_drawn_apart",
        "masking/mask.py",
        "fate = draws[row, leader[row, column], 0]",
        "fate = draws[row, column, 0]",
        (f"{MASKING}::test_whole_words_are_whole_and_share_their_fate",),
    ),
    Mutant(
        "words_cut",
        "masking/whole_word.py",
        "= candidates.word_starts.cumsum()",
        "= np.arange(candidates.may_mask.size)",
        (f"{MASKING}::test_whole_words_are_whole_and_share_their_fate",),
    ),
    Mutant(
        "document_without_prediction",
        "masking/mask.py",
        "    if np.count_nonzero(chosen):\n        return chosen\n",
        "    return chosen\n",
        (f"{MASKING}::test_the_contract",),
    ),
    Mutant(
        "budget_rounded_down",
        "masking/candidates.py",
        "rate * num_tokens + rng.random()",
        "rate * num_tokens + 0 * rng.random()",
        (f"{MASKING}::test_the_measured_rate_is_the_rate",),
    ),
    Mutant(
        "long_words_always_taken",
        "masking/whole_word.py",
        "(left and rng.random() * length < left)",
        "left",
        (f"{MASKING}::test_the_measured_rate_is_the_rate",),
    ),
    Mutant(
        "ngrams_cross_special_tokens",
        "masking/ngram.py",
        "if np.count_nonzero(inner) == inner.size:",
        "if inner.size >= 0:",
        (f"{MASKING}::test_ngrams_are_runs_of_whole_words",),
    ),
    Mutant(
        "ngrams_equally_likely",
        "masking/ngram.py",
        "weights = 1.0 / np.arange(1, longest + 1)",
        "weights = np.ones(longest)",
        ("tests/masking/test_ngram.py::test_lengths_are_as_the_paper_draws_them",),
    ),
    Mutant(
        "positions_not_restarted",
        "data/rows.py",
        "positions=filled(0, np.int32, cell, position)",
        "positions=filled(0, np.int32, cell, cell % row_length)",
        (f"{PACKING}::test_evaluation_has_every_token_once",),
    ),
    Mutant(
        "documents_of_a_row_share_an_id",
        "data/rows.py",
        "np.repeat(number, total)",
        "np.repeat(np.minimum(number, 1), total)",
        (f"{PACKING}::test_evaluation_has_every_token_once",),
        is_quick=True,
    ),
    Mutant(
        "rest_of_a_cut_piece_lost",
        "data/pack.py",
        "        self._add((start + cut, length - cut, document))\n",
        "",
        (f"{PACKING}::test_an_epoch_has_every_token_once",),
    ),
    Mutant(
        "words_cut_between_pieces",
        "data/pack.py",
        "starts = np.flatnonzero(flags & mark)",
        "starts = np.zeros(0, dtype=np.int64)",
        (f"{PACKING}::test_cuts_are_at_word_starts_where_there_is_one",),
    ),
    Mutant(
        "row_ids_repeat_in_every_window",
        "data/loader.py",
        "(cursor.window << 32) | rows",
        "rows",
        (f"{LOADER}::test_batches_are_always_full_and_epochs_complete",),
    ),
    Mutant(
        "ranks_read_the_same_rows",
        "data/loader.py",
        "self.rank * share, (self.rank + 1) * share",
        "0, share",
        (f"{LOADER}::test_ranks_share_what_one_would_read",),
    ),
    Mutant(
        "document_leak_in_attention",
        "nn/attention.py",
        "seen = doc_ids[:, :, None] == doc_ids[:, None, :]",
        "seen = (doc_ids[:, :, None] > 0) == (doc_ids[:, None, :] > 0)",
        ("tests/nn/test_encoder.py::test_documents_do_not_see_each_other",),
    ),
    Mutant(
        "mean_of_means",
        "train/tally.py",
        "(self._weights[term] / self._counts[term])",
        "(self._weights[term] / one.count)",
        ("tests/train/test_pretrain.py::test_micro_batches_equal_the_big_batch",),
    ),
    Mutant(
        "decoder_sees_later_tokens",
        "nn/decoder.py",
        'context="left"',
        'context="both"',
        ("tests/nn/test_decoder.py::test_a_token_sees_its_document_and_not_what_comes_after",),
    ),
    Mutant(
        "decoder_reads_other_documents",
        "nn/decoder.py",
        "same = target.doc_ids[:, :, None] == batch.doc_ids[:, None, :]",
        "same = target.is_token[:, :, None] & batch.is_token[:, None, :]",
        ("tests/nn/test_decoder.py::test_packed_is_alone",),
    ),
    Mutant(
        "sentinels_do_not_begin_anew",
        "masking/sentinels.py",
        "begun - np.maximum.accumulate(before)",
        "begun",
        ("tests/masking/test_sentinels.py::test_sentinels_are_counted_in_each_document",),
    ),
    Mutant(
        "left_sees_right",
        "nn/attention.py",
        'ahead <= 0 if context == "left" else ahead >= 0',
        'ahead >= 0 if context == "left" else ahead <= 0',
        ("tests/objectives/test_reading.py::test_a_prediction_sees_its_side_of_its_document_and_no_other",),
    ),
    Mutant(
        "causal_rows_are_masked",
        "objectives/hybrid.py",
        "ids = torch.where(is_causal[:, None], original, masked.batch.input_ids)",
        "ids = masked.batch.input_ids",
        ("tests/objectives/test_reading.py::test_a_hybrid_uses_every_row_one_way",),
    ),
    Mutant(
        "ends_of_rates_are_not_made_up_for",
        "objectives/diffusion.py",
        "np.where(hidden == 1, 1.5, np.where(hidden == n, 0.5, 1.0))",
        "np.ones_like(n)",
        ("tests/objectives/test_diffusion.py::test_every_number_of_hidden_pieces_counts_alike",),
    ),
    Mutant(
        "spans_stop_over_the_budget",
        "masking/span.py",
        "import choose_share",
        "import choose_whole as choose_share",
        ("tests/masking/test_span.py",),
    ),
    Mutant(
        "adaptive_forgets_on_resume",
        "train/adaptive.py",
        'self.version = int(arrays["version"][0])',
        "self.restart()",
        ("tests/train/test_masks.py",),
    ),
)


def survives(mutant: Mutant | None, tests: tuple[str, ...]) -> bool:
    """Whether `tests` pass on a copy of the package with the defect; with none, on the plain copy."""
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "src" / "clozelm"
        shutil.copytree(ROOT / "src" / "clozelm", package, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant:
            _inject(mutant, package / mutant.file)
        environment = {
            **os.environ,
            "PYTHONPATH": str(package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": temporary,
        }
        check = "import clozelm, sys; sys.exit(not clozelm.__file__.startswith(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", check, temporary], env=environment, cwd=ROOT, check=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *tests,
        ]
        run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name if mutant else 'no mutant'}: tests could not run\n{run.stdout[-2000:]}")
    return run.returncode == 0


def _inject(mutant: Mutant, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its line is {source.count(mutant.old)} times in {mutant.file}, not once")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


def main(names: list[str]) -> int:
    """Try the mutants of these names, or all; the exit status counts the survivors."""
    survivors = 0
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            is_alive = survives(mutant, mutant.tests)
            survivors += is_alive
            sys.stdout.write(f"{'SURVIVES' if is_alive else 'killed':9} {mutant.name}\n")
            sys.stdout.flush()
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
