"""Limits are checked before noise is drawn, and the time of encoding is measured."""

import json
import pkgutil
import time

import pytest

from tests.serving.in_process import InProcess, queue_of, request

WALK = {"model": "mlp", "from": {"seed": 1}, "to": {"seed": 2}, "steps": 3}
SEEDS = {"name": "seed", "datatype": "UINT32", "shape": [3], "data": [1, 2, 3]}
ASKED = {
    "/generate": request({"model": "mlp", "seeds": [1, 2, 3]}),
    "/interpolate": request(WALK, path="/interpolate"),
    "/v2": request({"inputs": [SEEDS]}, path="/v2/models/mlp/infer"),
    "/images": b"GET /images/mlp/1.png HTTP/1.1\r\nHost: figment\r\n\r\n",
}


@pytest.fixture(scope="module")
def served(zoo):
    """A service with room for 4 images in its queue, of 2 images' pixels in a request for mlp."""
    served = InProcess(zoo)
    yield served
    served.close()


@pytest.fixture
def no_noise(monkeypatch):
    """Fails a test that draws noise."""

    def fail(*arguments):
        raise AssertionError("noise was drawn for a rejected request")

    for name in ("api.inputs", "api.interpolation", "oip.inputs"):
        monkeypatch.setattr(f"serving.{name}.noise_for_seeds", fail)


@pytest.mark.parametrize("route", ASKED)
def test_a_full_queue_rejects_before_noise_is_drawn(served, no_noise, route):
    queue = queue_of(served.runtime, "mlp")
    queue.images = 4
    try:
        status, headers, body = served.ask(ASKED[route])
    finally:
        queue.images = 0
    assert status == 429, body
    assert headers["retry-after"]
    assert "4 images wait already" in json.loads(body)["error"]


@pytest.mark.parametrize("route", ["/generate", "/interpolate", "/v2"])
def test_too_many_pixels_are_rejected_before_noise_is_drawn(served, no_noise, monkeypatch, route):
    monkeypatch.setattr(
        served.runtime, "settings", served.runtime.settings.model_copy(update={"max_pixels": 2 * 16 * 16})
    )
    status, _, body = served.ask(ASKED[route])
    assert status == 413
    assert "3 images of 16 × 16 are more than the 512 pixels" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("file_format", "asked", "encoder"),
    [
        ("png", request({"model": "mlp", "seeds": [1, 2, 3]}), "encoding.answers.Answer.encode"),
        ("webp", request(WALK | {"layout": "animation"}, path="/interpolate"), "encoding.answers.Answer.body"),
        (
            "gif",
            request(WALK | {"layout": "animation", "format": "gif"}, path="/interpolate"),
            "encoding.answers.Answer.body",
        ),
        (
            "npy",
            request({"model": "mlp", "seeds": [1, 2, 3]}, "Accept: application/x-npy"),
            "encoding.answers.Answer.body",
        ),
        ("npy", request(WALK, "Accept: application/x-npy", path="/interpolate"), "encoding.answers.Answer.body"),
        ("tensor", request({"inputs": [SEEDS]}, path="/v2/models/mlp/infer"), "oip.endpoints.image_numbers"),
    ],
)
def test_the_time_of_encoding_is_counted_for_each_image(served, monkeypatch, file_format, asked, encoder):
    """An animation was counted as about 0 s, and a tensor not at all."""
    real = pkgutil.resolve_name(f"serving.{encoder}")

    def slow(*arguments):
        time.sleep(0.03)
        return real(*arguments)

    monkeypatch.setattr(f"serving.{encoder}", slow)
    names = "figment_encode_seconds_count", "figment_encode_seconds_sum"
    count, seconds = (served.metric(name, format=file_format) for name in names)
    status, _, body = served.ask(asked)
    assert status == 200, body
    assert served.metric(names[0], format=file_format) == count + 3
    assert served.metric(names[1], format=file_format) >= seconds + 0.03
