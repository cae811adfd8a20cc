"""The process is tuned before PyTorch is loaded, and what a user set stays."""

import os
import subprocess
import sys

PROGRAM = (
    "import os, sys; from clozelm.process import tune_process; tune_process(); "
    "assert 'torch' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
)


def printed(**variables: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_threads_wait_briefly_by_default() -> None:
    assert printed() == "2000"


def test_a_users_variable_stays() -> None:
    assert printed(GOMP_SPINCOUNT="7") == "7"
