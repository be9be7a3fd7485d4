"""Which settings of a run may change when it resumes."""

FREE_TO_CHANGE = {"images", "pace", "about", "name"}
"""Settings that a run records without comparing them: they shape no step."""

DATA_SELECTION = {"labels", "image_column", "label_column", "broken_share"}
"""Settings of ``data`` that only select which images are read. The data's fingerprint detects a wrong selection."""

CHANGEABLE = FREE_TO_CHANGE | {
    "burn_in",
    "compile",
    "data.balance",
    "discriminator_optimizer",
    "doctor",
    "ema.growth",
    "ema.ramp",
    "freeze_discriminator",
    "generator_optimizer",
    "judge.every",
    "micro_batch",
    "precision",
    "regularization",
    *(f"data.{setting}" for setting in DATA_SELECTION),
}
"""Settings, and groups of them, that ``resume --set`` accepts. They steer later steps and shape nothing in a
checkpoint. Each change is recorded, so the run stays distinguishable from one that had them from the start."""
