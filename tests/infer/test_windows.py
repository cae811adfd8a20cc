"""Windows are laid out whole, once each, in rows no longer than the batch's longest."""

import numpy as np
import pytest

from clozelm.infer import windows
from clozelm.infer.windows import Window, window_batches


@pytest.mark.parametrize("lengths", [[], [3], [5, 5, 5, 9, 1, 9, 2], list(range(1, 60))])
@pytest.mark.parametrize("budget", [1, 20, 1000])
def test_packing(lengths: list[int], budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "TOKENS_PER_BATCH", budget)
    batches = list(windows._pack(lengths))
    assert sorted(i for rows in batches for row in rows for i in row) == list(range(len(lengths)))
    for rows in batches:
        width = max(sum(lengths[i] for i in row) for row in rows)
        assert width == lengths[rows[0][0]]
        assert len(rows) == 1 or len(rows) * width <= budget


def test_layout() -> None:
    """The longest first, the next two behind it where they fit; scored positions ascend."""
    given = [
        Window(np.array([2, 10, 3]), [1]),
        Window(np.array([2, 20, 21, 22, 23, 24, 3]), [1, 4]),
        Window(np.array([2, 30, 31, 3]), [2]),
        Window(np.array([2, 3]), []),
    ]
    (found,) = window_batches(given)
    assert found.batch.input_ids.tolist() == [
        [2, 20, 21, 22, 23, 24, 3],
        [2, 30, 31, 3, 2, 10, 3],
        [2, 3] + [0] * 5,
    ]
    assert found.batch.doc_ids.tolist() == [[1] * 7, [1] * 4 + [2] * 3, [1] * 2 + [0] * 5]
    assert found.batch.positions.tolist()[1] == [0, 1, 2, 3, 0, 1, 2]
    assert found.scored.tolist() == [1, 4, 9, 12]
    assert found.owners == [1, 1, 2, 0]
