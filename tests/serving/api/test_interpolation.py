"""The mathematics of a walk, and POST /interpolate."""

import base64
import io
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from models.noise import noise_for_seeds
from serving.api.interpolation import spherical

vectors = arrays(np.float32, 6, elements=st.floats(-4, 4, width=32))
positions = np.linspace(0, 1, 9)


@given(start=vectors, end=vectors)
def test_a_walk_is_finite_and_its_ends_are_exact(start, end):
    walk = spherical(start, end, positions)
    assert (walk.dtype, walk.shape) == (np.float32, (9, 6))
    assert np.isfinite(walk).all()
    np.testing.assert_array_equal(walk[0], start)
    np.testing.assert_array_equal(walk[-1], end)


def test_lengths_and_angles_change_linearly():
    start, end = noise_for_seeds([1, 2], 64)
    walk = spherical(start, end, positions).astype(float)
    lengths = np.linalg.norm(walk, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 9), rtol=1e-5)
    directions = walk / lengths[:, None]
    angles = np.arccos((directions[1:] * directions[:-1]).sum(axis=1))
    np.testing.assert_allclose(angles, angles[0], rtol=1e-4)


def test_a_straight_line_would_be_shorter_in_the_middle():
    start, end = noise_for_seeds([1, 2], 64)
    middle = np.linalg.norm(spherical(start, end, np.array([0.5]))[0])
    assert middle > 1.2 * np.linalg.norm((start + end) / 2)


def ask(client, accept="*/*", **body):
    return client.post("/interpolate", json={"model": "mlp"} | body, headers={"Accept": accept})


WALK = {"from": {"seed": 3}, "to": {"seed": 4}, "steps": 5}


def test_a_list_has_positions_and_its_ends_are_the_seeds_images(client):
    answer = ask(client, **WALK).json()
    assert (answer["model"], answer["version"]) == ("mlp", 2)
    assert [image["position"] for image in answer["images"]] == [0, 0.25, 0.5, 0.75, 1]
    files = [base64.b64decode(image["data"]) for image in answer["images"]]
    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    for index, seed in ((0, 3), (-1, 4)):
        alone = client.post("/generate", json={"model": "mlp", "seeds": [seed]}).content
        np.testing.assert_array_equal(pixels[index], np.asarray(Image.open(io.BytesIO(alone))))
    steps = [np.abs(one.astype(int) - other).mean() for one, other in pairwise(pixels)]
    assert min(steps) > 0
    assert max(steps) < np.abs(pixels[0].astype(int) - pixels[-1]).mean()
    assert Image.open(io.BytesIO(files[1])).text["between"] == "3 to 4"


def test_a_walk_between_noise_vectors(client):
    noise = noise_for_seeds([3, 4], 32).tolist()
    by_noise = ask(client, "application/x-npy", **WALK | {"from": {"noise": noise[0]}, "to": {"noise": noise[1]}})
    by_seed = ask(client, "application/x-npy", **WALK)
    assert by_noise.content == by_seed.content
    assert (by_seed.headers["x-figment-seeds"], by_noise.headers["x-figment-seeds"]) == ("3,4", "")


def test_all_images_have_the_label(client):
    labels = [image["label"] for image in ask(client, **WALK | {"model": "conv"}).json()["images"]]
    assert labels == ["three"] * 5, "that of the seed where the walk begins"
    labels = [image["label"] for image in ask(client, **WALK | {"model": "conv", "labels": 7}).json()["images"]]
    assert labels == ["seven"] * 5


def test_a_strip_is_one_row(client):
    image = Image.open(io.BytesIO(ask(client, "image/png", **WALK, layout="grid").content))
    assert image.size == (5 * 16, 16)


def test_files_are_numbered_in_order(client):
    archive = zipfile.ZipFile(io.BytesIO(ask(client, "application/zip", **WALK).content))
    assert archive.namelist() == [f"{index:04d}.png" for index in range(5)]


@pytest.mark.parametrize("file_format", ["webp", "gif"])
@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_an_animation_has_different_frames(client, file_format, model):
    body = WALK | {"model": model, "layout": "animation", "format": file_format, "frames_per_second": 20}
    answer = ask(client, **body)
    assert answer.headers["content-type"] == f"image/{file_format}"
    film = Image.open(io.BytesIO(answer.content))
    assert (film.format, film.n_frames, film.size) == (file_format.upper(), 5, (16, 16))
    film.seek(1)
    film.load()
    assert film.info["duration"] == 50
    assert film.info["loop"] == 0


def test_accept_chooses_between_animations(client):
    assert ask(client, "image/gif", **WALK, layout="animation").headers["content-type"] == "image/gif"
    assert ask(client, "image/png", **WALK, layout="animation").status_code == 406
    assert ask(client, "image/png", **WALK).status_code == 406


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"from": {}}, 422, "from"),
        ({"from": {"seed": 1, "noise": [0.0]}}, 422, "from"),
        ({"from": {"seed": -1}}, 422, "from.seed"),
        ({"from": {"seed": True}}, 422, "from.seed"),
        ({"from": 3}, 422, "from"),
        ({"to": {"noise": [0.0] * 31}}, 422, "to"),
        ({"to": {"noise": []}}, 422, "to.noise"),
        ({"to": {"noise": [1e39] * 32}}, 422, "to"),
        ({"steps": 1}, 422, "steps"),
        ({"steps": 257}, 413, "steps"),
        ({"steps": 2.5}, 422, "steps"),
        ({"labels": 1}, 422, "labels"),
        ({"model": "conv", "labels": [1, 2]}, 422, "labels"),
        ({"model": "conv", "from": {"noise": [0.0] * 24}}, 422, "labels"),
        ({"model": "nobody"}, 404, "model"),
        ({"layout": "animation", "format": "png"}, 422, "body"),
        ({"format": "gif"}, 422, "body"),
        ({"frames_per_second": 0}, 422, "frames_per_second"),
        ({"frames_per_second": 1e9}, 422, "frames_per_second"),
        ({"start": {"seed": 1}}, 422, "start"),
        ({"pace": 1}, 422, "pace"),
    ],
)
def test_an_invalid_walk_is_rejected(client, change, status, field):
    answer = ask(client, **WALK | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].startswith(f"{field}:"), answer.text
