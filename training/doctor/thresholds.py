"""Every threshold of the doctor, each with its source.

"The thirty" are StudioGAN's published CIFAR-10 trainings (seven went wrong), for which the ranges below were measured.
Windows are counted in logged rows and in shares of the run so far, so neither the batch size nor the logging interval
matters. ``benchmarks/training/doctor.py`` measures how well the rules do.
"""

WARM_UP_ROWS = 50
"""No finding before: the first losses of every run swing. NaN and infinity are found in any row."""
CHECK_ROWS, CHECKS_PER_LENGTH, MAX_CHECK_ROWS = 10, 50, 4_096
"""Rows from one check to the next: 10, from 500 rows on a fiftieth of the run so far, and never more than 4 096."""
CONFIRMATIONS = 2
"""Checks in a row at which a rule must hold before it is a finding, and fail before the finding is over (hysteresis).

Four checks would be too late for ACGAN; one check alone follows every swing."""

SKIPPED_ROWS = 10
"""Rows at the start that no window holds."""
LATEST_ROWS, LATEST_SHARE = 20, 1 / 50
"""The latest window: 20 rows, or a fiftieth of the run so far if that is more."""
RECENT_ROWS, RECENT_SHARE = 30, 1 / 8
"""The recent window: 30 rows, or an eighth of the run so far if that is more."""

BURSTS = 1.3
"""Spread (10 % to 90 %) of the discriminator's loss over its median. The thirty, in two checks in a row: healthy up to
1.08, sick from 1.8 on before it was too late."""
FALLING = 0.7
"""Recent loss of the discriminator over its median in the first half of the run. A loss with bursts at a steady level
is no finding: the run may be poor, but it does not get worse."""
FALLEN = 0.4
"""The same ratio, without bursts. The thirty: healthy from 0.46 on, sick down to 0.28 and less."""
GENERATOR_RISEN = 0.2
"""Rise of the generator's loss since the first half of the run, in units of its spread there. Beside ``FALLEN``."""
DROPPED, JUMPED = 0.6, 1.5
"""Latest loss of the discriminator over its median in the half of the run before. The thirty: healthy 0.72 to 1.15,
sick down to 0.52 and less, and up to 1.63."""
STANDS_OUT = 0.5
"""Change of the latest loss in units of its spread before, beside ``DROPPED`` and ``JUMPED``: the median of a loss with
bursts doubles and halves by chance."""
SHIFTED, GENERATOR_SHIFTED = 1.5, 1.0
"""Fall of the discriminator's latest loss, and rise of the generator's, in units of their spread before. The thirty:
both changed by 0.5 at most. Independent of a constant in the loss, such as that of a classifier; the source is a margin
of two over that."""
EXPLODED = 5.0
"""Rise of the generator's loss since the first half of the run, in units of its spread there, and its recent size over
the earlier one; of the discriminator's loss, the size alone. The thirty: the rise is 0.7 at most, of a critic 1.9."""
OSCILLATING_LEVEL = 0.3
"""Share of the equilibrium above which bursts are swings of both players, not a discriminator that has won."""
UNDECIDED_CRITIC = 0.25
"""Share of rows in which a critic rates generated images above real ones, reached recently and not in the first half of
the run. The thirty: 0.18 for the healthy critic, 0.29 and more for the two that went wrong."""
INVERTED_CRITIC = 0.9
"""The same share, recent, from which a critic is as good as always wrong, whatever it was before. Of five critics of
``benchmarks/training/doctor_runs.csv``: 0.83 at most in three that went well, 0.93 and more in two that did not."""
AT_EQUILIBRIUM = 0.02
"""Relative distance of both losses from the values at which the discriminator cannot tell. The thirty: never near."""
WORSE_THAN_CHANCE, GENERATOR_WINS = 1.3, 0.3
"""Recent loss of the discriminator over its value where it cannot tell, and of the generator over its own: a
discriminator that is wrong most of the time and does not follow. One of fifty runs of ``doctor_runs.csv`` has both,
with 2.8 and 0.04. Seven of the thirty have the first alone, because a classifier's loss is in it."""

DEGRADED = 1.3
"""Score over the best one so far. The definition of a run that went wrong in ``docs/troubleshooting.md``."""
LOST_COVERAGE = 0.5
"""Coverage over the best one so far (Naeem et al. 2020 for coverage; half is a choice)."""
MIN_COVERAGE = 0.05
"""Best coverage below which there is nothing to lose yet: a few images more or less, in a run that has just begun."""
GENERALISATION_GAP = 0.5
"""(D(train) - D(held out)) / (D(train) - D(generated)): r_v of Karras et al. 2020, equation 1. 0 = no overfitting,
1 = held-out images look generated to the discriminator."""
TOLD_APART = 0.1
"""D(train) - D(generated), in logits, below which the discriminator tells nothing apart, and the gap above is noise: it
was 0.002 where two of fifty runs had gaps over 1 in ``doctor_runs.csv``, and in no run over 0.08 from 0.1 on."""
VANISHED_GRADIENT = 1e-3
"""Norm of the generator's gradient over its median in the first half of the run."""

WORSE_SCORE = 1.1
"""Score over the best one so far from which the judge confirms a finding.
A choice, below ``DEGRADED``."""
STUCK_SCORE, STUCK_CHANGE, STUCK_SPAN = 0.4, 0.8, 3
"""The best score over that of noise, and the latest over that of three scorings before, above both of which a run gets
nowhere, which confirms a finding, too. Chosen on 66 runs of ``doctor_treat.py``: two such scores in a row, while a
finding stood, came in 13 runs that never became good, and in no healthy one."""
RECOVERING, RECOVERING_SCORES = 0.95, 3
"""Score over the one before it, below which a bad run recovers: it is left alone. So is one whose score is below the
median of all since the best, where there are at least three."""
TREATED_SCORES, LOST_SCORES = 3, 4
"""Bad scores in a row that confirm a finding before it is treated, and before the run is given up; one fewer for a run
that gets nowhere, which has nothing to lose. With two, ``benchmarks/training/doctor_treat.py`` treated runs that swung
back by themselves within three scores, and made two of them worse."""
TREATED_SHARE, LOST_SHARE = 0.1, 0.3
"""Without a judge: the share of the run so far for which a finding stands before the same. All are choices: a
healthy run should neither be treated nor given up for a false alarm."""
AFTER_TREATMENT = 2
"""How many times as many scores are needed once a run has been treated: a discriminator with a new penalty needs some
hundred steps to find its balance, and one treatment after the other would try none of them."""
MAX_TREATMENTS = 3
"""Treatments of a run: a run that three do not mend needs a person."""
