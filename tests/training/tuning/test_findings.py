"""The doctor in a study: a lost trial is pruned with its words, and the report counts what went wrong."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.training.tuning.conftest import trials_of
from training.doctor.case import Case
from training.doctor.doctor import Doctor, Finding
from training.doctor.rules import Reason
from training.doctor.signals import Signals
from training.runs.folder import RunFolder

FOUND = 160


@pytest.fixture
def _every_run_falls_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Doctor.observe

    def observe(self: Doctor, signals: Signals) -> list[Finding]:
        found = original(self, signals)
        if signals.step == FOUND and signals.d_loss is not None:
            found += self._report("divergence", signals.step, Reason("simulated", {}, math.inf), at_once=True)
        return found

    monkeypatch.setattr(Doctor, "observe", observe)


@pytest.mark.usefixtures("_every_run_falls_ill")
def test_a_trial_that_the_doctor_gives_up_is_pruned_with_its_words(
    tune: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "lost", lambda self, step: next(iter(self.findings), None))
    study = tmp_path / "study"
    tune(study, "--trials", "2", "--seeds", "0", "--sampler", "random")
    preset, other = trials_of(study)
    assert preset.state == TrialState.COMPLETE, "the preset is never pruned"
    assert RunFolder.open(study / "trials" / "0000").config.doctor == "watch"
    assert other.state == TrialState.PRUNED
    assert other.user_attrs["images_seen"] == FOUND
    words = "the doctor gave it up: the losses run away (divergence): simulated"
    assert other.user_attrs["ended"] == words
    page = (study / "report.html").read_text()
    assert words in page
    section = page.partition("What went wrong")[2].partition("</section>")[0]
    assert "<code>divergence</code>" in section
    counts = section.partition("<code>divergence</code>")[2]
    assert '<td class="number">2</td><td class="number">1</td>' in counts, "found in both, given up in one"
    assert "none was tried" in section


@pytest.mark.usefixtures("_every_run_falls_ill")
def test_the_report_says_which_treatments_mended_a_run(
    tune: Callable[..., None], tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "to_treat", lambda self, step: self.findings[:1] if not self.treatments else [])
    monkeypatch.setattr(Case, "lost", lambda self, step: None)
    space_file.write_text(space_file.read_text().replace("settings:\n", "settings:\n  doctor: treat\n", 1))
    study = tmp_path / "study"
    tune(study, "--trials", "2", "--seeds", "0", "--sampler", "random")
    section = (study / "report.html").read_text().partition("What went wrong")[2].partition("</section>")[0]
    assert "<code>regularise</code>" in section
    assert "of 2" in section.partition("<code>regularise</code>")[2], "in both trials, the preset's too"
