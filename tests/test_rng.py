import numpy as np
import pytest

from clozelm.rng import generator, seed_for
from clozelm.vocab import Vocabulary


def test_a_place_always_gives_the_same_numbers() -> None:
    assert generator(1, "mask", 0, 5).random(3).tolist() == [
        0.13552065421090098,
        0.23797983693211433,
        0.18514027310641334,
    ]


@pytest.mark.parametrize(
    "other",
    [(2, "mask", 0, 5), (1, "order", 0, 5), (1, "mask", 1, 5), (1, "mask", 0, 6), (1, "mask", 5, 0)],
)
def test_places_differ_in_every_coordinate(other: tuple[int, str, int, int]) -> None:
    assert generator(1, "mask", 0, 5).random() != generator(*other).random()


def test_neighbours_do_not_overlap() -> None:
    first = generator(1, "mask", 0, 0).random(100_000)
    assert not np.isin(generator(1, "mask", 0, 1).random(1000), first).any()


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = generator(1, "mask").random()
    np.random.seed(4)  # noqa: NPY002
    assert generator(1, "mask").random() == first
    np.random.seed(3)  # noqa: NPY002
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_seeds_fit_torch_and_take_any_integer() -> None:
    assert 0 <= seed_for(-1, "torch", 1 << 70) < 1 << 63
    assert seed_for(1, "torch") != seed_for(2, "torch")


def test_four_coordinates_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="4 coordinates"):
        generator(1, "mask", 1, 2, 3, 4)


def test_named_ids_are_special_even_if_not_listed() -> None:
    vocabulary = Vocabulary(size=10, pad_id=0, cls_id=1, sep_id=2, mask_id=3, unk_id=5, special_ids=frozenset({9}))
    assert vocabulary.ordinary_ids.tolist() == [4, 6, 7, 8]
    assert vocabulary.is_special.sum() == 6
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.is_special[4] = True


def test_special_ids_lie_in_the_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"special ids \[12\]"):
        Vocabulary(size=10, pad_id=0, cls_id=1, sep_id=2, mask_id=12)
