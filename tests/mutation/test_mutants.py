import pytest

from tests.mutation.mutants import MUTANTS, ROOT, Mutant, survives


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_has_its_place(mutant: Mutant) -> None:
    assert (ROOT / "src" / "clozelm" / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1


@pytest.mark.slow
def test_without_a_defect_all_is_green() -> None:
    assert survives(None, tuple(sorted({test for mutant in MUTANTS for test in mutant.tests})))


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(each, id=each.name, marks=() if each.is_quick else pytest.mark.slow) for each in MUTANTS],
)
def test_a_defect_is_seen(mutant: Mutant) -> None:
    assert not survives(mutant, mutant.tests)
