"""What must be said of arms that measures ask another question."""

from typing import Any

import pytest

from clozelm.flows.caveats import caveats
from clozelm.report.comparison import MEASURES
from clozelm.settings import load
from clozelm.train.settings import PretrainSettings


@pytest.mark.parametrize(
    ("given", "measures", "said"),
    [
        ({}, set(), ""),
        ({"objective": {"name": "hybrid"}}, set(), ""),
        ({"model": {"context": "left"}}, set(), ""),
        ({"model": {"context": "right"}}, {"sentence_bits", "pairs"}, "it sees nothing"),
        ({"objective": {"name": "rtd"}}, {"masked_loss", "sentence_bits", "pairs"}, "which is smaller and not"),
        (
            {"objective": {"name": "rtd", "rtd": {"generator": 1.0}}},
            {"masked_loss", "sentence_bits", "pairs"},
            "which is not the model",
        ),
        (
            {"objective": {"name": "rtd", "rtd": {"generator": 1.0, "generator_layers": 2}}},
            {"masked_loss", "sentence_bits", "pairs"},
            "which is smaller and not",
        ),
        (
            {
                "model": {"num_layers": 2},
                "objective": {"name": "rtd", "rtd": {"generator": 1, "generator_layers": 2}},
            },
            {"masked_loss", "sentence_bits", "pairs"},
            "which is not the model",
        ),
        ({"objective": {"name": "clm"}}, {"bits_per_byte", "sentence_bits"}, "nothing after it"),
        ({"objective": {"name": "span_corruption"}}, {"sentence_bits", "pairs"}, "its decoder is asked"),
    ],
)
def test_caveats(given: dict[str, Any], measures: set[str], said: str) -> None:
    found = caveats(load(PretrainSettings, given))
    assert measures <= found.keys() <= {one.name for one in MEASURES}
    assert bool(found) == bool(measures)
    assert not said or any(said in each for each in found.values())
