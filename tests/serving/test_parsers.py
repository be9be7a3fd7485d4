"""Whatever a client writes, each parser reads it or refuses it with an error of its own: no other exception."""

import json
from contextlib import suppress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.noise import MAX_SEED
from serving.api.requests import SeedRanges
from serving.encoding.negotiation import negotiate, offers_of
from serving.errors import ApiError, ErrorCode
from serving.oip.messages import read_infer_request

_ITEMS = st.integers(0, MAX_SEED + 2).map(str) | st.tuples(st.integers(0, 99), st.integers(0, 99)).map(
    "{0[0]}-{0[1]}".format
)


@settings(max_examples=500, deadline=None)
@given(st.text("0123456789-, \u0663\u00b2x", max_size=30) | st.lists(_ITEMS, max_size=5).map(",".join) | st.text())
def test_seed_notation(text: str) -> None:
    with suppress(ValueError):
        ranges = SeedRanges(text)
        assert len(ranges) == sum(last - first + 1 for first, last in ranges.ranges) >= 1
        assert all(0 <= first <= last <= MAX_SEED for first, last in ranges.ranges)
        if len(ranges) < 1000:
            written = ",".join(map(str, ranges.to_list()))
            assert SeedRanges(written).to_list() == ranges.to_list()


def test_a_seed_of_many_digits() -> None:
    for text in ("9" * 5000, "0" * 5000, f"{'1' * 9000}-2"):
        with suppress(ValueError):
            assert len(SeedRanges(text)) == 1


_RANGES = st.sampled_from(["*/*", "image/*", "image/png", "application/json", "text/html", "*", "/", ""])
_PARAMETERS = st.sampled_from(
    ["", ";q=0", ";q=1", ";q=.5", ";q=nan", ";q=1e9", ";q=-1", "; Q = 0.3", ";q", ";q==1", ";a=b"]
)
_ACCEPT = st.lists(st.tuples(_RANGES, _PARAMETERS).map("".join), max_size=6).map(",".join)


@settings(max_examples=500, deadline=None)
@given(_ACCEPT | st.text(max_size=60), st.sampled_from([None, "png", "npy"]), st.booleans())
def test_accept(accept: str, requested: str | None, one_image: bool) -> None:
    offers = offers_of(requested, one_image)
    refusal = ErrorCode.NOT_ACCEPTABLE
    try:
        assert negotiate(offers, accept) in offers
    except ApiError as error:
        refusal = error.code
    assert refusal is ErrorCode.NOT_ACCEPTABLE


_SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
_TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["seed", "noise", "label", "x"]),
        "datatype": st.sampled_from(["UINT32", "INT64", "FP32"]),
    },
    optional={
        "shape": st.lists(st.integers(-1, 5) | st.just(2**40), max_size=3) | _JSON,
        "data": st.lists(st.integers(-1, 2**33) | st.floats(), max_size=5) | _JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 40) | _JSON}) | _JSON,
    },
)
_MESSAGES = st.fixed_dictionaries(
    {"inputs": st.lists(_TENSORS, max_size=3) | _JSON},
    optional={"id": _JSON, "outputs": _JSON, "parameters": _JSON, "model_name": _JSON, "model_version": _JSON},
)


@settings(max_examples=500, deadline=None)
@given(_MESSAGES, st.binary(max_size=40), st.none() | st.integers(-2, 2) | st.text(max_size=4))
def test_messages_of_the_inference_protocol(message: object, binary: bytes, length: object) -> None:
    head = json.dumps(message).encode()
    header = str(len(head) + length) if isinstance(length, int) else length
    with suppress(ApiError):
        request = read_infer_request(head + binary, header)
        for tensor in request.inputs.values():
            with suppress(ApiError), np.errstate(all="ignore"):
                assert tensor.array().shape == tensor.shape


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.none() | st.integers(0, 80).map(str) | st.text(max_size=4))
def test_bytes_of_the_inference_protocol(body: bytes, header: str | None) -> None:
    with suppress(ApiError):
        read_infer_request(body, header)
