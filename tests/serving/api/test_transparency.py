"""Images with alpha: kept where the file format can, else laid over a colour; opaque wherever a colour is asked for."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from models.transparency import lay_over
from tests.serving.in_process import InProcess, request

WHITE, BLACK, GOLD = (255, 255, 255), (0, 0, 0), (255, 215, 0)
ARRAY = "application/x-npy"


@pytest.fixture(scope="module")
def served(zoo):
    served = InProcess(zoo)
    yield served
    served.close()


@pytest.fixture
def post(served):
    """Returns the body of a ``POST`` for the generator with alpha."""

    def post(body, accept="*/*", path="/generate"):
        status, _, content = served.ask(request({"model": "sprite"} | body, f"Accept: {accept}", path=path))
        assert status == 200, content
        return content

    return post


@pytest.fixture
def fetch(served):
    """Returns the status, headers and body of an image's address."""

    def fetch(address, *headers):
        lines = [f"GET /images/{address} HTTP/1.1", "Host: figment", *headers, "", ""]
        return served.ask("\r\n".join(lines).encode())

    return fetch


@pytest.fixture
def pixels(post):
    """The generator's own pixels for the seeds 1, 2 and 3."""
    return array(post({"seeds": [1, 2, 3]}, ARRAY))


def array(content):
    return np.load(io.BytesIO(content))


def image(content):
    return Image.open(io.BytesIO(content))


def background_of(found, pixels):
    """Returns the colour that a lossy image lies on, by the smallest difference from the exact ones."""
    found = np.asarray(found).astype(int)
    return min((WHITE, BLACK, GOLD), key=lambda colour: np.abs(found - lay_over(pixels, colour)).mean())


def test_an_array_has_four_channels(pixels):
    assert (pixels.shape, pixels.dtype) == ((3, 16, 16, 4), np.uint8)
    assert np.ptp(pixels[..., 3]) > 200, "the fixture must have every kind of alpha"


def test_png_keeps_every_pixel(post, pixels):
    found = image(post({"seeds": [1], "format": "png"}))
    assert found.mode == "RGBA"
    assert np.array_equal(np.asarray(found), pixels[0])


@pytest.mark.parametrize("quality", [10, 90])
def test_webp_keeps_alpha_exactly(post, pixels, quality):
    found = image(post({"seeds": [1], "format": "webp", "quality": quality}))
    assert found.mode == "RGBA"
    assert np.array_equal(np.asarray(found)[..., 3], pixels[0, ..., 3])


def test_jpeg_lies_on_white_or_on_the_background(post, pixels):
    for more, colour in (({}, WHITE), ({"background": "#ffd700"}, GOLD), ({"background": "black"}, BLACK)):
        found = image(post({"seeds": [1], "format": "jpeg"} | more))
        assert (found.format, found.mode) == ("JPEG", "RGB")
        assert background_of(found, pixels[0]) == colour


def test_a_background_makes_every_format_opaque(post, pixels):
    laid = lay_over(pixels, GOLD)
    body = {"seeds": [1, 2, 3], "background": "#ffd700"}
    assert np.array_equal(array(post(body, ARRAY)), laid)
    found = image(post(body | {"seeds": [1], "format": "png"}))
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), laid[0])
    assert image(post(body | {"seeds": [1], "format": "webp"})).mode == "RGB"
    archive = zipfile.ZipFile(io.BytesIO(post(body, "application/zip")))
    for index, name in enumerate(archive.namelist()):
        assert np.array_equal(np.asarray(image(archive.read(name))), laid[index])
    for index, member in enumerate(json.loads(post(body, "application/json"))["images"]):
        assert np.array_equal(np.asarray(image(base64.b64decode(member["data"]))), laid[index])


def test_a_zip_keeps_alpha(post, pixels):
    archive = zipfile.ZipFile(io.BytesIO(post({"seeds": [1, 2, 3]}, "application/zip")))
    for index, name in enumerate(archive.namelist()):
        assert np.array_equal(np.asarray(image(archive.read(name))), pixels[index])


def test_the_empty_cells_of_a_grid_are_transparent_or_the_background(post, pixels):
    body = {"seeds": [1, 2, 3], "layout": "grid"}
    kept = np.asarray(image(post(body, "image/png")))
    assert kept.shape == (32, 32, 4)
    assert np.array_equal(kept[16:, :16], pixels[2])
    assert not kept[16:, 16:].any()
    laid = np.asarray(image(post(body | {"background": "#ffd700"}, "image/png")))
    assert np.array_equal(laid, lay_over(kept, GOLD))
    assert (laid[16:, 16:] == GOLD).all()
    assert (np.asarray(image(post(body, "image/jpeg")))[20:, 20:] > 250).all()


WALK = {"from": {"seed": 1}, "to": {"seed": 2}, "steps": 5}


def frames(content):
    film = image(content)
    shown = []
    for number in range(film.n_frames):
        film.seek(number)
        shown.append(np.asarray(film.convert("RGBA")))
    return np.stack(shown)


@pytest.mark.parametrize("file_format", ["webp", "gif"])
def test_an_animation_keeps_the_alpha_of_every_frame(post, file_format):
    """Without disposal, a GIF's frame showed all earlier ones through its transparent pixels."""
    expected = array(post(WALK, ARRAY, "/interpolate"))
    body = WALK | {"layout": "animation", "format": file_format}
    found = frames(post(body, path="/interpolate"))
    alpha = expected[..., 3]
    assert np.array_equal(found[..., 3], alpha if file_format == "webp" else np.where(alpha >= 128, 255, 0))
    laid = frames(post(body | {"background": "#ffd700"}, path="/interpolate"))
    assert (laid[..., 3] == 255).all()
    assert background_of(laid[..., :3], expected) == GOLD


def test_a_strip_and_a_walks_images_lie_on_the_background(post):
    expected = lay_over(array(post(WALK, ARRAY, "/interpolate")), GOLD)
    body = WALK | {"background": "#ffd700"}
    strip = image(post(body | {"layout": "grid"}, "image/png", "/interpolate"))
    assert np.array_equal(np.asarray(strip), np.concatenate([*expected], axis=1))
    members = json.loads(post(body, path="/interpolate"))["images"]
    assert np.array_equal(np.asarray(image(base64.b64decode(members[2]["data"]))), expected[2])


def test_addresses_of_different_backgrounds_have_different_etags(fetch, pixels):
    etags = {}
    for background in ("", "?background=white", "?background=black", "?background=%23ffd700"):
        for extension in ("png", "jpg"):
            status, headers, _ = fetch(f"sprite/1.{extension}{background}")
            assert status == 200
            etags[background, extension] = headers["etag"]
    assert etags.pop(("", "jpg")) == etags["?background=white", "jpg"], "white is the default"
    assert len(set(etags.values())) == len(etags)
    gold = "sprite/1.png?background=%23FFD700"
    assert np.array_equal(np.asarray(image(fetch(gold)[2])), lay_over(pixels[0], GOLD))
    assert fetch(gold, f"If-None-Match: {etags['?background=%23ffd700', 'png']}")[0] == 304
    assert fetch(gold, f"If-None-Match: {etags['?background=white', 'png']}")[0] == 200


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_opaque_images_hide_a_background(served, fetch, model):
    """Whoever asks for white behind images gets them from every model, and caches keep one copy."""
    for extension in ("png", "jpg", "webp"):
        plain, laid = fetch(f"{model}/1.{extension}"), fetch(f"{model}/1.{extension}?background=%23ff0000")
        assert (laid[0], laid[2], laid[1]["etag"]) == (200, plain[2], plain[1]["etag"])


def test_the_protocols_tensors_have_four_channels(served, pixels):
    """Also with a parameter ``background``, which the protocol does not define: the metadata promise the shape."""
    _, _, metadata = served.ask(b"GET /v2/models/sprite HTTP/1.1\r\nHost: figment\r\n\r\n")
    (output,) = json.loads(metadata)["outputs"]
    assert output == {"name": "images", "datatype": "UINT8", "shape": [-1, 16, 16, 4]}
    seeds = {"name": "seed", "datatype": "UINT32", "shape": [3], "data": [1, 2, 3]}
    for parameters in ({}, {"background": "white"}):
        message = {"inputs": [seeds], "parameters": parameters}
        _, _, content = served.ask(request(message, path="/v2/models/sprite/infer"))
        (tensor,) = json.loads(content)["outputs"]
        assert tensor["shape"] == [3, 16, 16, 4]
        assert tensor["data"] == pixels.ravel().tolist()


def test_the_limit_on_pixels_counts_the_fourth_byte(served, monkeypatch):
    """Otherwise a request could take a third more memory, and a ZIP archive more than its format's 4 GiB."""
    limits = served.runtime.settings.model_copy(update={"max_pixels": 4 * 16 * 16})
    monkeypatch.setattr(served.runtime, "settings", limits)
    for model, images, status in (("mlp", 4, 200), ("mlp", 5, 413), ("sprite", 3, 200), ("sprite", 4, 413)):
        found, _, content = served.ask(request({"model": model, "count": images, "format": "npy"}))
        assert found == status, (model, images)
    assert "4 images of 16 × 16 are more than the 768 pixels" in json.loads(content)["error"]
