"""The body's ``format`` and the ``Accept`` header choose the form of an answer."""

import pytest

from serving.api.requests import read_generate_request
from serving.encoding.negotiation import negotiate, offers_of
from serving.errors import ApiError

ONE, THREE = {"seeds": [1]}, {"seeds": [1, 2, 3]}


def negotiated(body, accept):
    request = read_generate_request(body, 256)
    return negotiate(offers_of(request.format, request.images == 1 or request.layout == "grid"), accept)


@pytest.mark.parametrize(
    ("body", "accept", "media_type", "file_format"),
    [
        (ONE, None, "image/png", "png"),
        (ONE, "*/*", "image/png", "png"),
        (ONE, "", "image/png", "png"),
        (THREE, "*/*", "application/json", "png"),
        (THREE | {"layout": "grid"}, "*/*", "image/png", "png"),
        (ONE | {"format": "webp"}, "*/*", "image/webp", "webp"),
        (ONE, "image/*", "image/png", "png"),
        (ONE, "image/webp", "image/webp", "webp"),
        (ONE, "IMAGE/JPEG", "image/jpeg", "jpeg"),
        (ONE, "image/png;q=0.2, image/webp;q=0.9", "image/webp", "webp"),
        (ONE, "image/avif,image/webp,image/png,image/*,*/*;q=0.8", "image/png", "png"),
        (ONE, "application/json", "application/json", "png"),
        (THREE | {"format": "jpeg"}, "application/json", "application/json", "jpeg"),
        (THREE, "application/zip", "application/zip", "png"),
        (THREE, "application/x-npy", "application/x-npy", "npy"),
        (THREE, "image/png, application/zip;q=0.1", "application/zip", "png"),
        (ONE, "*/*;q=0.1, application/json", "application/json", "png"),
        (ONE, "image/png;q=0, */*", "image/jpeg", "jpeg"),
        (ONE | {"format": "npy"}, "*/*", "application/x-npy", "npy"),
        (THREE | {"format": "npy"}, "*/*", "application/json", "npy"),
        (ONE, "text/html, image/webp;level=1;q=0.5, */*;q=0.1", "image/webp", "webp"),
    ],
)
def test_accepted(body, accept, media_type, file_format):
    offer = negotiated(body, accept)
    assert (offer.media_type, offer.format) == (media_type, file_format)


@pytest.mark.parametrize(
    ("body", "accept"),
    [
        (ONE, "text/html"),
        (ONE, "image/heic"),
        (THREE, "image/png"),
        (ONE | {"format": "png"}, "image/webp"),
        (ONE | {"format": "png"}, "application/x-npy"),
        (ONE | {"format": "npy"}, "image/png"),
        (ONE, "*/*;q=0"),
        (ONE, "image/png;q=much"),
        (ONE, ";;;,,,"),
        (ONE, "a" * 5000),
    ],
)
def test_not_acceptable(body, accept):
    with pytest.raises(ApiError, match="can be answered with") as error:
        negotiated(body, accept)
    assert error.value.status == 406
