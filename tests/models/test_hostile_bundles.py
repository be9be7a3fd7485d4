"""A hostile bundle is refused with a sentence: nothing outside the folder is read, and memory is bounded."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import bundle as bundle_module
from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError, BundleUnreadableError, read_bundle, write_bundle
from tests.limited_memory import run_limited
from tests.models.test_bundle import GRAPH, make_card
from training.errors import TrainingError
from training.evaluation.target import _open_bundle

FILES = (CARD_FILE, GENERATOR_FILE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle, ``zoo/shapes/1``, with a good copy of its files outside the zoo."""
    folder = write_bundle(tmp_path / "zoo", make_card(), GRAPH, b"")
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in FILES:
        (outside / name).write_bytes((folder / name).read_bytes())
    return folder


def rewrite_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | changes))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, name: str, where: str) -> None:
    (folder / name).unlink()
    outside = "../../../outside" if where == "relative" else folder.parents[2] / "outside"
    (folder / name).symlink_to(f"{outside}/{name}")
    assert (folder / name).exists()
    with pytest.raises(BundleUnreadableError, match=f"shapes/1: {name} is a link out of the folder of bundles"):
        read_bundle(folder)


@pytest.mark.parametrize("level", ["zoo/shapes/1", "zoo/shapes"])
def test_a_folder_that_is_a_link_out_is_refused(folder: Path, level: str) -> None:
    top = folder.parents[2]
    (top / level).rename(top / "moved")
    (top / level).symlink_to(top / "moved")
    with pytest.raises(BundleUnreadableError, match=r"shapes/1: card.json is a link out of the folder of bundles"):
        read_bundle(folder)


def test_links_within_the_folder_and_to_the_folder_itself_are_followed(folder: Path) -> None:
    zoo = folder.parents[1]
    (zoo / "..data").mkdir()
    (zoo / "shapes").rename(zoo / "..data" / "shapes")
    (zoo / "shapes").symlink_to("..data/shapes")
    (zoo.parent / "served").symlink_to("zoo")
    for root in (zoo, zoo.parent / "served"):
        assert read_bundle(root / "shapes" / "1").onnx == GRAPH


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once(folder: Path, name: str) -> None:
    """Opening a pipe waits until somebody writes, which stopped the loading of all bundles."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=f"shapes/1: {name} is not a regular file"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_link_to_an_endless_device_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(BundleUnreadableError, match="link out of the folder"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_links_in_a_circle_are_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    with pytest.raises(BundleUnreadableError, match=f"shapes/1: cannot read {name}"):
        read_bundle(folder)


@pytest.mark.parametrize(("name", "limit"), [(CARD_FILE, "MAX_CARD_BYTES"), (GENERATOR_FILE, "MAX_GENERATOR_BYTES")])
def test_a_huge_file_is_refused_unread(folder: Path, name: str, limit: str) -> None:
    most = getattr(bundle_module, limit)
    with (folder / name).open("r+b") as file:
        file.truncate(most + 1)  # takes no room on disk
    imports = "from pathlib import Path\nfrom models.bundle import BundleError, read_bundle"
    code = "try:\n    read_bundle(Path(sys.argv[1]))\nexcept BundleError as error:\n    print(error)"
    said = run_limited(imports, code, 64, str(folder))
    assert said == f"shapes/1: {name} has {most + 1} bytes, and {most} are the most that are read"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "../shapes"}, "name: String should match pattern"),
        ({"name": "shapes\n"}, "name: String should match pattern"),
        ({"name": "/etc"}, "name: String should match pattern"),
        ({"name": ".."}, "name: String should match pattern"),
        ({"name": "shapes\u0000"}, "name: String should match pattern"),
        ({"version": 2**53}, "version: Input should be less than or equal to 9007199254740991"),
        ({"noise_dim": 10**12}, "noise_dim: Input should be less than or equal to 65536"),
        ({"image": {"height": 10**9, "width": 1, "channels": 1}}, "image.height: Input should be less than or equal"),
        ({"image": {"height": 1, "width": 8193, "channels": 1}}, "image.width: Input should be less than or equal"),
    ],
)
def test_names_and_sizes_of_a_card_are_bounded(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    rewrite_card(folder, **changes)
    with pytest.raises(BundleError, match=f"shapes/1: card.json is not a valid card: {sentence}"):
        read_bundle(folder)


@pytest.mark.parametrize("place", ["score", "configuration"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(folder: Path, place: str, number: str) -> None:
    """One such card made ``GET /models`` a 500 for all models."""
    score = {"metric": "fxd", "value": 0.125, "judge": "j", "samples": 1, "floor": None, "ceiling": None}
    training = json.loads((folder / CARD_FILE).read_text())["training"]
    if place == "score":
        rewrite_card(folder, scores=[score])
    else:
        rewrite_card(folder, training=training | {"configuration": {"deep": [{"lr": 0.125}]}})
    text = (folder / CARD_FILE).read_text()
    assert "0.125" in text
    read_bundle(folder)
    (folder / CARD_FILE).write_text(text.replace("0.125", number))
    with pytest.raises(BundleError, match=r"shapes/1: card.json (holds NaN or an infinite number|is not a valid card)"):
        read_bundle(folder)


def test_a_deep_card_is_refused(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text()
    deep = "[" * 100_000 + "]" * 100_000
    (folder / CARD_FILE).write_text(text.replace('"configuration": {', f'"configuration": {{"a": {deep}, '))
    with pytest.raises(BundleError, match="not a valid card: Invalid JSON: recursion limit exceeded"):
        read_bundle(folder)


def test_evaluating_a_graph_that_cannot_be_opened_is_one_line(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"^shapes/1: cannot be run: .*") as caught:
        _open_bundle(folder)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_card_is_read_or_refused_with_one_sentence(folder: Path, data: st.DataObject) -> None:
    good = make_card().model_dump_json().encode()
    at = data.draw(st.integers(0, len(good)))
    put, cut = data.draw(st.binary(max_size=6)), data.draw(st.integers(0, 6))
    (folder / CARD_FILE).write_bytes(good[:at] + put + good[at + cut :])
    check_card(folder)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(make_card().model_dump())), value=_JSON)
def test_any_value_in_a_card_is_read_or_refused_with_one_sentence(folder: Path, key: str, value: Any) -> None:
    card = json.loads(make_card().model_dump_json())
    (folder / CARD_FILE).write_text(json.dumps(card | {key: value}))
    check_card(folder)


def check_card(folder: Path) -> None:
    refusal = "shapes/1: none"
    try:
        bundle = read_bundle(folder)
    except BundleError as error:
        refusal = str(error)
    else:
        json.dumps(bundle.card.model_dump(mode="json"), allow_nan=False)
    assert refusal.startswith("shapes/1: ")
    assert len(refusal.splitlines()) == 1
