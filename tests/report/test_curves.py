"""The loss curve: drawn from whatever a journal holds."""

import numpy as np
import pytest

from clozelm.report.curves import loss_curve, smoothed

RECORDS = [
    {
        "step": step,
        "tokens_seen": 1000 * step,
        "elapsed_seconds": 2.0 * step,
        "loss": 9 / step,
        "heldout_loss": held_out,
    }
    for step, held_out in zip(range(1, 50), [None, 8.0] * 25, strict=False)
]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], [], [{"step": 1, "loss": None, "tokens_seen": 5}]])
def test_a_picture_comes_of_any_journal(tmp_path, records, log):
    loss_curve(records, tmp_path / "loss.png", unigram_nats=6.7, title="a run", log=log)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_stays_a_line_when_smoothed():
    line = np.linspace(9.0, 4.0, 301)
    assert np.allclose(smoothed(line)[:-4], line[:-4])
    assert smoothed(line)[-1] == pytest.approx(line[-5:].mean())


def test_smoothing_averages_about_the_share_asked_for():
    noise = np.random.default_rng(0).normal(size=2000)
    assert smoothed(noise, 0.1)[200:-200].std() == pytest.approx(noise.std() / np.sqrt(200), rel=0.8)
    assert smoothed([]).shape == (0,)
    assert smoothed([3.0]).tolist() == [3.0]
