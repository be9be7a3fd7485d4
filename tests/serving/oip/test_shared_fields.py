"""The fields that all routes for images share are one model; the inference protocol takes new ones as parameters."""

import pytest

from serving.api.image_address import Query
from serving.api.interpolation import InterpolateRequest
from serving.api.requests import GenerateRequest
from serving.errors import ApiError
from serving.oip import messages
from serving.oip.messages import read_infer_request
from serving.request_fields import ImageFields
from tests.serving.in_process import json_bytes

SEED = {"name": "seed", "datatype": "UINT32", "shape": [1], "data": [5]}


def read(**parameters):
    return read_infer_request(json_bytes({"inputs": [SEED], "parameters": parameters}), None)


@pytest.mark.parametrize("model", [GenerateRequest, InterpolateRequest, Query])
def test_every_route_inherits_them(model):
    assert issubclass(model, ImageFields)
    assert ImageFields.model_fields.keys() <= model.model_fields.keys()


def test_a_new_field_is_a_parameter_of_the_protocol(monkeypatch):
    class WithMirror(ImageFields):
        mirror: bool = False

    monkeypatch.setattr(messages, "ImageFields", WithMirror)
    monkeypatch.setattr(messages, "_PARAMETER_FIELDS", {"mirror"})
    assert read(mirror=True).fields.mirror
    assert not read().fields.mirror
    with pytest.raises(ApiError, match="mirror: Input should be a valid boolean"):
        read(mirror="yes")


def test_fields_that_the_path_and_tensors_have_are_no_parameters():
    assert read(truncation="any", version=-1, quality=1000, background="red").fields == ImageFields()
