"""What can be wrong with a run, why, and what to try: one record for each condition."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """A fault that the doctor can name."""

    name: str
    title: str
    advice: str
    """What to do, with the reason from the literature."""
    settings: tuple[str, ...]
    """Values for ``--set`` of ``fit`` and ``resume``, the first to try first."""
    remedies: tuple[str, ...] = ()
    """Names of ``training/loop/remedies.py`` for ``doctor: treat``, the first to try first."""


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition(
            "not_finite",
            "a loss is NaN or infinite",
            "The weights are unusable from here on. Go back to a checkpoint before this step and halve both learning "
            "rates; a rollback alone takes the same steps again.",
            (
                "generator_optimizer.learning_rate=0.0001",
                "discriminator_optimizer.learning_rate=0.0001",
                "generator_optimizer.clip_norm=10",
            ),
            ("slow_down", "regularise", "slow_discriminator"),
        ),
        Condition(
            "divergence",
            "the losses run away",
            "Lower both learning rates, set beta1 to 0, and bound the discriminator's slope: R1 makes the game locally "
            "convergent (Mescheder et al. 2018).",
            (
                "discriminator_optimizer.learning_rate=0.0001",
                "generator_optimizer.learning_rate=0.0001",
                "regularization.r1=1",
            ),
            ("regularise", "slow_down", "augment"),
        ),
        Condition(
            "discriminator_overpowers",
            "the discriminator wins",
            "The generator learns nothing from a discriminator that is always right (Arjovsky and Bottou 2017). Take "
            "the best checkpoint so far. Then penalise the discriminator's slope (Mescheder et al. 2018), augment what "
            "it sees (Zhao et al. 2020), or lower its learning rate.",
            (
                "regularization.r1=1",
                "augmentation.diff_augment=[translation]",
                "discriminator_optimizer.learning_rate=0.0001",
            ),
            ("regularise", "slow_discriminator", "augment"),
        ),
        Condition(
            "discriminator_overfits",
            "the discriminator has memorised the images",
            "Augment what the discriminator sees: on few images it learns them by heart, and its gradient then says "
            "nothing (Karras et al. 2020). A larger R1 or more images help, too.",
            (
                "augmentation.adaptive.target=0.6",
                "augmentation.diff_augment=[translation]",
                "regularization.r1=1",
            ),
            ("augment", "regularise", "slow_discriminator"),
        ),
        Condition(
            "discriminator_too_weak",
            "the discriminator cannot tell",
            "The generator gets no signal: both losses stay at the values of a coin toss. Give the discriminator a "
            "higher learning rate (Heusel et al. 2017), more steps, or less regularisation.",
            ("discriminator_optimizer.learning_rate=0.0004", "discriminator_steps=2", "regularization.r1=0.1"),
        ),
        Condition(
            "vanished_gradient",
            "the generator's gradient has vanished",
            "A saturating loss has no gradient where the discriminator is sure. Take the non-saturating loss "
            "(Goodfellow et al. 2014, section 3), and regularise the discriminator.",
            ("loss=non_saturating", "regularization.r1=1"),
            ("regularise", "slow_discriminator"),
        ),
        Condition(
            "oscillation",
            "the players swing around each other",
            "Momentum drives the swings: set beta1 to 0 (Gidel et al. 2019) and halve both learning rates. Where it is "
            "0 and one swing broke the run, a beta2 of 0.99 lets Adam's steps shrink in time. R1 damps swings "
            "(Mescheder et al. 2018), and a longer EMA averages them out.",
            (
                "generator_optimizer.beta1=0",
                "discriminator_optimizer.beta1=0",
                "discriminator_optimizer.beta2=0.99",
                "regularization.r1=1",
            ),
            ("regularise", "slow_down"),
        ),
        Condition(
            "critic_drift",
            "the critic no longer measures a distance",
            "Bound the critic's slope by a gradient penalty (Gulrajani et al. 2017), take more critic steps per "
            "generator step, and lower the learning rates.",
            ("regularization.gradient_penalty=10", "discriminator_steps=5", "discriminator_optimizer.beta1=0"),
            ("regularise", "slow_down"),
        ),
        Condition(
            "mode_collapse",
            "the generator has lost part of the images",
            "Go back to the best checkpoint. A relativistic loss with R1 and R2 keeps modes (Huang et al. 2024), and "
            "larger batches help (Brock et al. 2019).",
            ("loss=relativistic", "regularization.r1=0.1", "regularization.r2=0.1"),
            ("roll_back", "regularise", "slow_down"),
        ),
        Condition(
            "late_degradation",
            "the best is over",
            "Export the best checkpoint, not the last. To train longer, let the learning rates fall, and augment if "
            "the images are few.",
            ("generator_optimizer.schedule=cosine", "discriminator_optimizer.schedule=cosine"),
            ("slow_down",),
        ),
        Condition(
            "data_fault",
            "nothing changes",
            "Both losses stay exactly the same. Either the discriminator is dead: since a step that was too large, its "
            "rectifiers pass on nothing, and every image gets one logit (Lu et al. 2019). Then go back to a checkpoint "
            "before this step, and lower both learning rates. Or the images or the log are at fault: look at the real "
            "images of the first grid.",
            ("discriminator_optimizer.learning_rate=0.0001", "generator_optimizer.learning_rate=0.0001"),
            ("slow_down", "regularise"),
        ),
    )
}
"""Name → condition."""
