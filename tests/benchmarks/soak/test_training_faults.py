"""The short forms of ``make soak`` for training keep every promise."""

import os
import shutil

import pytest

from benchmarks.soak import long_training, training_faults


@pytest.mark.slow_proof
def test_faults_in_training_lose_nothing(tmp_path):
    if shutil.which("cc") is None and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("needs a C compiler")
    for outcome in training_faults.run(smoke=True, work=tmp_path):
        assert outcome.kept, outcome


@pytest.mark.slow_proof
def test_a_long_training_is_bounded(tmp_path):
    for outcome in long_training.run(smoke=True, work=tmp_path):
        assert outcome.kept, outcome
