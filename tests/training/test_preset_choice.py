"""``fit`` without a preset: which images get which preset and settings, on which device, and how it is told."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.training.sprites import write_sprites
from training.config.presets import preset_names
from training.data.survey import Survey
from training.errors import TrainingError
from training.preset_choice import RULES, choose_and_report, choose_preset

GB = 2**30
TEN = {str(digit): 6000 for digit in range(10)}
EMOJI = {"people": 2261, "flags": 270, "component": 5}


def seen(images: int, *sizes: tuple[int, int], **facts: Any) -> Survey:
    """Returns a survey of opaque photographs in colour without labels, but for ``facts``."""
    photographs = {"grey": False, "transparent": 0.0, "drawn": 0.0, "empty_corners": 0.0, "labels": None}
    return Survey(name="some", images=images, sizes=sizes, **photographs | facts)  # type: ignore[arg-type]


MNIST = seen(60_000, (28, 28), grey=True, empty_corners=1.0, labels=TEN)
CIFAR = seen(50_000, (32, 32), labels=TEN)
PHOTOS = seen(800, (640, 480), (480, 640), (300, 200))
EMOJI_64 = seen(3786, (64, 64), transparent=1.0, empty_corners=1.0, labels=EMOJI)
FACES = seen(20_000, (178, 218))


@pytest.mark.parametrize(
    ("survey", "gpu", "expected"),
    [
        (MNIST, None, "digits 32 1 pad conditional"),
        (MNIST, 80, "digits 32 1 pad conditional"),
        (CIFAR, None, "cifar10-small 32 3 as-it-is conditional"),
        (CIFAR, 80, "cifar10 32 3 as-it-is conditional"),
        (seen(2000, (32, 32)), None, "photos 32 3 as-it-is r1=0.5"),
        (seen(20_000, (32, 32)), None, "cifar10-small 32 3 as-it-is"),
        (PHOTOS, None, "photos 64 3 crop"),
        (PHOTOS, 4, "photos 64 3 crop"),
        (PHOTOS, 8, "photos 128 3 crop"),
        (PHOTOS, 80, "photos 256 3 crop"),
        (seen(800, (100, 100)), 80, "photos 64 3 crop"),
        (seen(800, (250, 250)), 80, "photos 256 3 crop"),
        (EMOJI_64, None, "sprites 64 4 as-it-is conditional"),
        (EMOJI_64, 80, "sprites 64 4 as-it-is conditional"),
        (seen(500, (128, 128), transparent=0.4), 80, "photos 128 3 as-it-is"),
        (seen(500, (48, 48), drawn=0.9), None, "sprites 32 3 crop"),
        (seen(500, (16, 16), transparent=1.0), None, "sprites 16 4 as-it-is"),
        (seen(500, (5, 5), empty_corners=1.0), None, "photos 8 3 pad r1=0.5"),
        (FACES, None, "photos 64 3 crop"),
        (FACES, 80, "faces64 64 3 crop"),
        (seen(9_999, (178, 218)), 80, "photos 128 3 crop"),
        (seen(900, (512, 512), grey=True), None, "photos 64 1 crop unmirrored"),
        (seen(900, (30, 30)), None, "photos 32 3 crop r1=0.5"),
        (seen(900, (28, 28), grey=True), None, "digits 32 1 crop"),
        (seen(900, (30, 32), (32, 30)), None, "photos 32 3 crop r1=0.5"),
        (seen(900, (64, 64), labels={"a": 100, "b": 800}), None, "photos 64 3 as-it-is conditional"),
        (seen(1200, (64, 64), labels={"a": 100, "b": 1000}), None, "photos 64 3 as-it-is conditional balanced"),
        (seen(899, (64, 64), labels={"a": 99, "b": 800}), None, "photos 64 3 as-it-is"),
        (seen(1980, (64, 64), labels={"a": 99, "b": 1881}), None, "photos 64 3 as-it-is conditional"),
        (seen(1979, (64, 64), labels={"a": 99, "b": 1880}), None, "photos 64 3 as-it-is"),
        (seen(900, (64, 64), labels={"a": 900}), None, "photos 64 3 as-it-is"),
        (seen(10**6, (64, 64), labels={str(n): 900 for n in range(1001)}), None, "photos 64 3 as-it-is"),
        (seen(900, (64, 64), labels={"test": 400, "train": 500}), None, "photos 64 3 as-it-is"),
    ],
)
def test_images_and_device_decide(survey: Survey, gpu: int | None, expected: str) -> None:
    choice = choose_preset(survey, gpu and gpu * GB)
    settings = dict(choice.settings)
    words = [choice.preset, *(settings.pop(f"data.{key}", "as-it-is") for key in ("resolution", "channels", "fit"))]
    words += ["conditional"] if settings.pop("conditional") else []
    words += ["balanced"] if settings.pop("data.balance", False) else []
    words += [] if settings.pop("augmentation.flip", True) else ["unmirrored"]
    words += [f"r1={value}" for value in [settings.pop("regularization.r1", None)] if value]
    assert " ".join(map(str, words)) == expected
    assert settings == {}


@pytest.mark.parametrize(
    ("survey", "gpu", "reasons"),
    [
        (MNIST, None, ["for small grey images"]),
        (PHOTOS, None, ["for fewer than 10000 photographs", "at 64 × 64 pixels, the most for a CPU"]),
        (PHOTOS, 8, ["for fewer than 10000 photographs", "at 128 × 128 pixels, the most for this GPU"]),
        (
            seen(900, (30, 30)),
            None,
            ["for fewer than 10000 photographs", "with a weaker R1, as it suits 32 × 32 pixels"],
        ),
        (FACES, 80, ["for 10000 images and more on a GPU", "at 64 × 64 pixels, the most for faces64"]),
        (EMOJI_64, None, ["for drawings on transparency"]),
        (
            seen(899, (64, 64), labels={"a": 99, "b": 800}),
            None,
            [
                "for fewer than 10000 photographs",
                "without labels, since 11% of the images have one of fewer than 100 images, such as 'a' with 99",
            ],
        ),
        (
            seen(9, (64, 64), labels={"test": 4, "train": 5}),
            None,
            ["for fewer than 10000 photographs", "without labels, since test, train are parts of a data set"],
        ),
        (
            seen(9, (64, 64), labels={"a": 9}),
            None,
            ["for fewer than 10000 photographs", "without labels, since there are 1 and not 2 to 1000"],
        ),
    ],
)
def test_each_decision_has_its_reason(survey: Survey, gpu: int | None, reasons: list[str]) -> None:
    assert list(choose_preset(survey, gpu and gpu * GB).reasons) == reasons


def test_every_preset_that_can_be_chosen_ships() -> None:
    assert {rule.preset for rule in RULES} <= set(preset_names())


def test_the_choice_is_told_with_the_command_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    icons = write_sprites(tmp_path / "my icons", 20)
    told = choose_and_report(str(icons), ["seed=3"], None, ["--images", "500"])
    assert told == (
        "sprites",
        ["data.resolution=16", "seed=3"],
    ), "but for what the preset has by itself: four channels, no labels"
    seen, command = capsys.readouterr().err.splitlines()
    assert seen == (
        "no preset is named; my icons holds 20 images (16 × 16 pixels, 100% transparent, 2 labels) and this machine no "
        "GPU, so the preset is sprites, for drawings on transparency; without labels, since 100% of the images have "
        "one of fewer than 100 images, such as 'disc' with 10"
    )
    prefix = "the same run by name: python -m training "
    assert command.startswith(prefix)
    options = "--images 500 --set data.resolution=16 --set seed=3"
    assert shlex.split(command.removeprefix(prefix)) == ["fit", "sprites", "--data", str(icons), *options.split()]


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ([], ["data.resolution=16", "conditional=true", "data.balance=true"]),
        (["data.channels=1"], ["data.resolution=16", "conditional=true", "data.balance=true"]),
        (["conditional=no"], ["data.resolution=16"]),
        (["data.labels=none"], ["data.resolution=16"]),
    ],
)
def test_settings_of_the_user_are_not_chosen(
    tmp_path: Path, settings: list[str], chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.preset_choice.MIN_IMAGES_PER_LABEL", 2)
    icons = write_sprites(tmp_path / "icons", 40)
    for path in sorted((icons / "disc").iterdir())[2:]:
        path.unlink()
    assert choose_and_report(str(icons), settings, None, [])[1] == [*chosen, *settings]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("data.labels=some", "data.labels: input should be 'first_folder', 'last_folder' or 'none'"),
        ("data.labels", "--set takes key=value, not 'data.labels'"),
    ],
)
def test_bad_settings_are_told_before_the_images_are_looked_at(digits: Path, setting: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        choose_and_report(str(digits), [setting], None, [])


def test_the_named_command_is_the_same_run(
    digits: Path, tmp_path: Path, train: Callable[..., None], small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 512 digits no label has 100 images, so the run is unconditional."""
    settings = [f"--set={setting}" for setting in [*small, "images=64", "precision=float32"]]
    chosen, named = tmp_path / "chosen", tmp_path / "named"
    train("fit", "--data", digits, "--out", chosen, *settings)
    (command,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("the same run by name: ")]
    arguments = shlex.split(command)[8:]
    assert arguments[:2] == ["fit", "digits"]
    train(*(str(named) if argument == str(chosen) else argument for argument in arguments))
    assert "by name" not in capsys.readouterr().err
    one, other = (yaml.safe_load((run / "config.yaml").read_text()) for run in (chosen, named))
    assert one == other
    assert (one["conditional"], one["data"]["resolution"], one["data"]["fit"]) == (False, 32, "pad")
    checkpoints = [sorted((run / "checkpoints").iterdir())[-1] for run in (chosen, named)]
    assert checkpoints[0].name == checkpoints[1].name


def test_a_dry_run_chooses_too(digits: Path, train: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    train("fit", "--data", digits, "--dry-run", "--set", "judge=null", "--set", "network.width=8")
    told = capsys.readouterr()
    assert "the preset is digits" in told.err
    assert "conditional: false" in told.out
