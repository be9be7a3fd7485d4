"""The table of bad inputs; docs/refusals.md has the service's answers."""

import io
import json
from dataclasses import dataclass, field

import numpy as np

SEEDS = "a seed is an integer in 0 … 4294967295"

GENERATE = [
    # the body's JSON, status, part of the sentence
    ({}, 422, "one of seeds, noise and count"),
    ({"seeds": [1], "count": 1}, 422, "one of seeds, noise and count"),
    ([], 422, "body"),
    ("text", 422, "body"),
    (None, 422, "body"),
    ({"seeds": [1], "size": 64}, 422, "size"),
    ({"seeds": [-1]}, 422, SEEDS),
    ({"seeds": [2**32]}, 422, SEEDS),
    ({"seeds": [2**63]}, 422, SEEDS),
    ({"seeds": [1.5]}, 422, SEEDS),
    ({"seeds": [1.0]}, 422, SEEDS),
    ({"seeds": ["7"]}, 422, SEEDS),
    ({"seeds": [True]}, 422, SEEDS),
    ({"seeds": [None]}, 422, SEEDS),
    ({"seeds": [[1]]}, 422, SEEDS),
    ({"seeds": []}, 422, "at least one"),
    ({"seeds": 7}, 422, "seeds"),
    ({"seeds": {}}, 422, "seeds"),
    ({"seeds": "9-0"}, 422, "backwards"),
    ({"seeds": "0-9,"}, 422, "neither a seed nor a range"),
    ({"seeds": ""}, 422, "neither a seed nor a range"),
    ({"seeds": "-1"}, 422, "neither a seed nor a range"),
    ({"seeds": "1e3"}, 422, "neither a seed nor a range"),
    ({"seeds": "٣"}, 422, "neither a seed nor a range"),
    ({"seeds": "4294967296"}, 422, SEEDS),
    ({"seeds": list(range(257))}, 413, "257 images are more than the 256"),
    ({"seeds": "0-999999999"}, 413, "1000000000 images are more than the 256"),
    ({"seeds": ",".join(["0-4294967295"] * 99)}, 413, "more than the 256"),
    ({"count": 257}, 413, "count: 257"),
    ({"count": 10**9}, 413, "count: 1000000000"),
    ({"count": 10**30}, 413, "count"),
    ({"count": 0}, 422, "count"),
    ({"count": -1}, 422, "count"),
    ({"count": 1.0}, 422, "count"),
    ({"count": "1"}, 422, "count"),
    ({"count": True}, 422, "count"),
    ({"noise": []}, 422, "noise"),
    ({"noise": [[]]}, 422, "32 numbers"),
    ({"noise": [0.0] * 32}, 422, "noise"),
    ({"noise": [[0.0] * 31]}, 422, "32 numbers an image; row 0 has 31"),
    ({"noise": [[0.0] * 32, [0.0] * 33]}, 422, "row 1 has 33"),
    ({"noise": [[[0.0]] * 32]}, 422, "noise"),
    ({"noise": [["0"] * 32]}, 422, "noise"),
    ({"noise": [[True] * 32]}, 422, "noise"),
    ({"noise": [[1e39] * 32]}, 422, "32 bits"),
    ({"noise": [[10**400] * 32]}, 422, "noise"),
    ({"noise": [[0.0] * 32] * 257}, 413, "257"),
    ({"noise": [[0.0] * 24], "model": "conv"}, 422, "labels: conv needs a label"),
    ({"seeds": [1], "labels": 0}, 422, "mlp takes no labels"),
    ({"seeds": [1], "labels": -1, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": 10, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": 10**40, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": "3", "model": "conv"}, 422, "one of zero, one"),
    ({"seeds": [1], "labels": 1.0, "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "labels": False, "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "labels": [], "model": "conv"}, 422, "labels"),
    ({"seeds": [1, 2], "labels": [1], "model": "conv"}, 422, "each of the 2 images"),
    ({"seeds": [1], "truncation": 1.01}, 422, "truncation"),
    ({"seeds": [1], "truncation": -0.1}, 422, "truncation"),
    ({"seeds": [1], "truncation": "1"}, 422, "truncation"),
    ({"seeds": [1], "truncation": 10**400}, 422, "truncation"),
    ({"seeds": [1], "format": "exe"}, 422, "format"),
    ({"seeds": [1], "format": "PNG "}, 422, "format"),
    ({"seeds": [1], "quality": 0}, 422, "quality"),
    ({"seeds": [1], "quality": 101}, 422, "quality"),
    ({"seeds": [1], "quality": "90"}, 422, "quality"),
    ({"seeds": [1], "background": "red"}, 422, "background: must be white, black or #rrggbb"),
    ({"seeds": [1], "background": "#fff"}, 422, "background"),
    ({"seeds": [1], "background": "#gggggg"}, 422, "background"),
    ({"seeds": [1], "background": ""}, 422, "background"),
    ({"seeds": [1], "background": [255, 255, 255]}, 422, "background"),
    ({"seeds": [1], "background": "\ud800"}, 422, "background"),
    ({"seeds": [1], "layout": "tower"}, 422, "layout"),
    ({"seeds": [1], "model": "../../etc/passwd"}, 404, "no model"),
    ({"seeds": [1], "model": "a" * 10_000}, 404, "no model"),
    ({"seeds": [1], "model": "\0"}, 404, "no model"),
    ({"seeds": [1], "model": "\ud800"}, 404, "no model"),
    ({"seeds": [1], "labels": "\ud800", "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "\ud800": 1}, 422, "body"),
    ({"seeds": [1], "model": ""}, 404, "no model"),
    ({"seeds": [1], "model": "broken"}, 404, "no model"),
    ({"seeds": [1], "model": 7}, 422, "model"),
    ({"seeds": [1], "version": 3}, 404, "has no version 3, but 1, 2"),
    ({"seeds": [1], "version": 10**30}, 404, "no version"),
    ({"seeds": [1], "version": 0}, 422, "version"),
    ({"seeds": [1], "version": "1"}, 422, "version"),
    ({"seeds": [1], "count": 1, "noise": [[0.0] * 32]}, 422, "one of seeds, noise and count"),
    ({"seeds": [0] * 10**6}, 413, "bytes"),
    ({"noise": [[0.0] * 10**6]}, 413, "bytes"),
    ({"seeds": "http://127.0.0.1:1/seeds"}, 422, "neither a seed nor a range"),
    ({"seeds": [1], "model": "http://127.0.0.1:1/generator.onnx"}, 404, "no model"),
    ({"seeds": [1], "model": "..%2f"}, 404, "no model"),
    ({"seeds": [1], "model": "."}, 404, "no model"),
    ({"seeds": [1], "version": -1}, 422, "version"),
    ({"seeds": [1], "version": "latest;x"}, 422, "version"),
    ({"seeds": [1], "truncation": 1e9}, 422, "truncation"),
    ({"seeds": [1], "truncation": None, "format": "../x"}, 422, "format"),
    ({"count": 1000.0}, 422, "count"),
    ({"noise": [[0.0] * 600]}, 422, "32 numbers an image; row 0 has 600"),
]

INTERPOLATE = [
    ({}, 422, "from"),
    ({"from": {"seed": 1}}, 422, "to"),
    ({"from": 1, "to": 2}, 422, "from"),
    ({"from": {}, "to": {"seed": 2}}, 422, "either a seed or noise"),
    ({"from": {"seed": 1, "noise": [0.0] * 32}, "to": {"seed": 2}}, 422, "either a seed or noise"),
    ({"from": {"seed": -1}, "to": {"seed": 2}}, 422, "from.seed"),
    ({"from": {"seed": 1}, "to": {"seed": 2**32}}, 422, "to.seed"),
    ({"from": {"noise": [0.0] * 31}, "to": {"seed": 2}}, 422, "32 numbers"),
    ({"from": {"noise": [1e39] * 32}, "to": {"seed": 2}}, 422, "32 bits"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "steps": 1}, 422, "steps"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "steps": 257}, 413, "257 images are more than the 256"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "steps": 10**9}, 413, "more than the 256"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "format": "gif"}, 422, "not gif"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "layout": "animation", "format": "png"}, 422, "not png"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "layout": "animation", "frames_per_second": 0}, 422, "frames_per_second"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "background": "red"}, 422, "background"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "labels": 0}, 422, "mlp takes no labels"),
    ({"from": {"noise": [0.0] * 24}, "to": {"seed": 2}, "model": "conv"}, 422, "labels: conv needs a label"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "seeds": [3]}, 422, "seeds"),
    ({"from": {"seed": 1}, "to": {"seed": 2}, "model": "nobody"}, 404, "no model"),
]

BYTES = [
    (b"", 400),
    (b"{", 400),
    (b'{"seeds": [1]', 400),
    (b'{"seeds": [1]} x', 400),
    (b'{"seeds": [1], "seeds": [2]}', 400),
    (b'{"noise": [[NaN]]}', 400),
    (b'{"noise": [[Infinity]]}', 400),
    (b'{"truncation": -Infinity, "seeds": [1]}', 400),
    (b'{"seeds": [01]}', 400),
    (b'{"seeds": [' + b"9" * 5000 + b"]}", 400),
    (b"[" * 60_000, 400),
    (b'{"a":' * 9_000, 400),
    (b"\xef\xbb\xbf{}", 400),
    (b'{"model": "\xff"}', 400),
    (b'{"noise": [[1e400]]}', 422),
    ('{"seeds": [1]}'.encode("utf-16"), 400),
]


def npy(array):
    """Returns an array's file as an attacker may write it."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


OBJECTS = npy(np.array([{}], object))
HUGE = npy(np.zeros(1, np.float32)).replace(b"(1,)", b"(1099511627776,)")

MEDIA = [
    # headers, status, part of the sentence
    ({}, 415, "application/json"),
    ({"Content-Type": "text/plain"}, 415, "application/json"),
    ({"Content-Type": "application/vnd.bentoml+pickle"}, 415, "application/json"),
    ({"Content-Type": "application/x-pickle"}, 415, "application/json"),
    ({"Content-Type": "application/x-npy"}, 415, "application/json"),
    ({"Content-Type": "application/zip"}, 415, "application/json"),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
    ({"Content-Type": "multipart/form-data; boundary=----"}, 415, "application/json"),
    ({"Content-Type": "multipart/form-data; boundary=" + "-" * 5000}, 415, "application/json"),
    ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "must not be compressed"),
    ({"Content-Type": "application/json", "Content-Encoding": "br"}, 415, "must not be compressed"),
    ({"Content-Type": "application/json", "Accept": "text/html"}, 406, "can be answered with image/png"),
    ({"Content-Type": "application/json", "Accept": "image/avif"}, 406, "can be answered with"),
    ({"Content-Type": "application/json", "Accept": "image"}, 406, "can be answered with"),
    ({"Content-Type": "application/json", "Accept": "*/*;q=0"}, 406, "can be answered with"),
    ({"Content-Type": "application/json", "Accept": "image/png;q=x"}, 406, "can be answered with"),
]


def seeds(*values, **more):
    return {"name": "seed", "shape": [len(values)], "datatype": "INT64", "data": list(values)} | more


def noise(shape, data, **more):
    return {"name": "noise", "datatype": "FP32", "shape": shape, "data": data} | more


def truncation(*values):
    return {"name": "truncation", "datatype": "FP32", "shape": [len(values)], "data": list(values)}


INFER_INPUTS = [
    # inputs, status, part of the sentence
    ([], 422, "inputs"),
    ({}, 422, "inputs"),
    ([7], 422, "inputs"),
    ([{}], 422, "inputs.0.name"),
    ([seeds(1, name="unknown")], 422, "no input 'unknown'"),
    ([seeds(1, name="\ud800")], 422, "no input"),
    ([seeds(1), seeds(1)], 422, "given twice"),
    ([seeds(1), noise([1, 32], [0.0] * 32)], 422, "one of seed and noise"),
    ([truncation(1.0)], 422, "one of seed and noise"),
    ([seeds(1)] * 3_000, 422, "inputs"),
    ([seeds(1)] * 10_000, 413, "bytes"),
    ([seeds(1), seeds(1, name="label")], 422, "no input 'label'"),
    ([seeds(1, shape=[])], 422, "shape"),
    ([seeds(1, shape=[0])], 422, "shape"),
    ([seeds(1, shape=[-1])], 422, "shape"),
    ([seeds(1, shape=[True])], 422, "shape"),
    ([seeds(1, shape=[1.0])], 422, "shape"),
    ([seeds(1, shape=["1"])], 422, "shape"),
    ([seeds(1, shape=[1] * 10_000)], 422, "shape"),
    ([seeds(1, 2, shape=[1, 2])], 422, "[N]"),
    ([seeds(1, shape=[1, 1, 1])], 422, "[N]"),
    ([noise([1, 32, 1], [0.0] * 32)], 422, "[N, 32]"),
    ([seeds(1, shape=[2])], 422, "the 2 numbers"),
    ([seeds(1, shape=[2**62])], 413, "more than the 256"),
    ([seeds(1, shape=[10**4000])], 413, "more than the 256"),
    ([seeds(*range(257))], 413, "257 images are more than the 256"),
    ([noise([2**62, 2**62], [])], 422, "[N, 32]"),
    ([noise([2**62, 32], [])], 413, "more than the 256"),
    ([noise([1, 31], [0.0] * 31)], 422, "[N, 32]"),
    ([noise([32], [0.0] * 32)], 422, "[N, 32]"),
    ([noise([1, 32], [0.0] * 31)], 422, "the 32 numbers"),
    ([noise([2, 32], [[0.0] * 32])], 422, "the 64 numbers"),
    ([noise([2, 32], [[0.0] * 32, [0.0] * 31])], 422, "the 64 numbers"),
    ([noise([2, 32], [[0.0] * 32, 0.0])], 422, "the 64 numbers"),
    ([noise([2, 32], [[0.0] * 16] * 4)], 422, "the 64 numbers"),
    ([noise([1, 32], [[[0.0]] * 32])], 422, "numbers"),
    ([noise([1, 32], ["0"] * 32)], 422, "numbers"),
    ([noise([1, 32], [True] * 32)], 422, "numbers"),
    ([noise([1, 32], [None] * 32)], 422, "numbers"),
    ([noise([1, 32], [1e39] * 32)], 422, "32 bits"),
    ([noise([1, 32], [10**400] * 32)], 422, "fit in FP32"),
    ([noise([1, 32], [0.0] * 32, datatype="FP16")], 422, "FP32"),
    ([noise([1, 32], [0.0] * 32, datatype="BYTES")], 422, "FP32"),
    ([seeds(1, datatype="FP32")], 422, "UINT32 or INT64"),
    ([seeds(1, datatype="int64")], 422, "UINT32 or INT64"),
    ([seeds(1, datatype=7)], 422, "datatype"),
    ([seeds(-1)], 422, "0 … 4294967295"),
    ([seeds(2**32)], 422, "0 … 4294967295"),
    ([seeds(2**63)], 422, "fit in INT64"),
    ([seeds(-1, datatype="UINT32")], 422, "fit in UINT32"),
    ([seeds(1.0)], 422, "numbers"),
    ([seeds(True)], 422, "numbers"),
    ([seeds([1])], 422, "numbers"),
    ([seeds(1, data=None)], 422, "either data or"),
    ([seeds(1, data={})], 422, "data"),
    ([seeds(1, data=1)], 422, "data"),
    ([seeds(1, parameters=[])], 422, "parameters"),
    ([seeds(1, parameters={"binary_data_size": 8})], 422, "either data or"),
    ([seeds(1), truncation(1.1)], 422, "0 … 1"),
    ([seeds(1), truncation(-0.1)], 422, "0 … 1"),
    ([seeds(1), truncation(10**300)], 422, "0 … 1"),
    ([seeds(1), truncation(1.0, 1.0)], 422, "the same"),
]

INFER_MESSAGES = [
    # body without its inputs, status, part of the sentence
    ({"outputs": [{"name": "images"}] * 10_000}, 422, "once"),
    ({"outputs": [{"name": "other"}]}, 422, "one output is images"),
    ({"outputs": [{}]}, 422, "name"),
    ({"outputs": {}}, 422, "outputs"),
    ({"outputs": [{"name": "images", "parameters": {"binary_data": 1}}]}, 422, "true or false"),
    ({"outputs": [{"name": "images", "parameters": {"classification": 3}}]}, 422, "not supported"),
    ({"outputs": [{"name": "images", "parameters": {"shared_memory_region": "a"}}]}, 422, "not supported"),
    ({"parameters": {"binary_data_output": "yes"}}, 422, "true or false"),
    ({"parameters": "binary_data_output"}, 422, "parameters"),
    ({"id": "a\r\nSet-Cookie: b"}, 422, "id"),
    ({"id": "a\n"}, 422, "id"),
    ({"id": "a" * 300_000}, 422, "id"),
    ({"id": "a" * 1_000_000}, 413, "bytes"),
    ({"id": 7}, 422, "id"),
    ({"id": "\ud800"}, 422, "id"),
    ({"model_name": "conv"}, 422, "model_name: the path means 'mlp', the body 'conv'"),
    ({"model_name": 7}, 422, "model_name"),
    ({"model_version": "1"}, 422, "model_version: the path means version 2 of mlp, the body '1'"),
    ({"model_version": "new"}, 422, "model_version"),
    ({"model_version": 0}, 422, "model_version"),
    ({"model_version": True}, 422, "model_version"),
    ({"outputs": [None]}, 422, "outputs"),
]

INFER_BYTES = [
    # content, Inference-Header-Content-Length, status, part of the sentence
    *(
        (content, None, 400, "not valid JSON")
        for content in (b"", b"{", b"[NaN]", b"[" * 60_000, b"\xff", OBJECTS, HUGE)
    ),
    *(
        (b"{}", length, 400, "Inference-Header-Content-Length")
        for length in ("-1", "0", "9999", "text", "1.5", "9" * 100)
    ),
]

IMAGES = [
    # address, status, part of the sentence
    ("/images/nobody/1.png", 404, "model: there is no model 'nobody'"),
    ("/images/mlp/1.png?version=9", 404, "version: 'mlp' has no version 9"),
    ("/images/mlp/1.gif", 404, "An image's address ends in"),
    ("/images/mlp/1", 404, "An image's address ends in"),
    ("/images/mlp/01.png", 404, "An image's address ends in"),
    ("/images/mlp/-1.png", 404, "An image's address ends in"),
    ("/images/mlp/%D9%A1.png", 404, "An image's address ends in"),
    ("/images/..%2f..%2fetc/passwd", 404, "An image's address ends in"),
    ("/images/", 404, "An image's address ends in"),
    ("/images/mlp/4294967296.png", 422, "seed: a seed is an integer in 0 … 4294967295"),
    ("/images/mlp/1.png?truncation=2", 422, "truncation: Input should be less than or equal to 1"),
    ("/images/mlp/1.png?truncation=nan", 422, "truncation:"),
    ("/images/mlp/1.png?quality=0", 422, "quality: Input should be greater than or equal to 1"),
    ("/images/mlp/1.png?version=new", 422, "version: Input should be a valid integer"),
    ("/images/mlp/1.png?version=" + "9" * 5000, 422, "version:"),
    ("/images/mlp/1.png?colour=red", 422, "colour: Extra inputs are not permitted"),
    ("/images/mlp/1.png?quality=5&quality=6", 422, "quality: may be given once"),
    ("/images/mlp/1.jpg?background=ff8800", 422, "such as #ff8800; in an address, # is written %23"),
    ("/images/mlp/1.jpg?background=", 422, "background: must be white, black or #rrggbb"),
    ("/images/mlp/1.jpg?background=%23ff8800ff", 422, "background"),
    ("/images/mlp/1.png?label=%FF", 422, "query: at most 16 parameters in UTF-8"),
    ("/images/mlp/1.png?" + "a=1&" * 20, 422, "query: at most 16 parameters"),
    ("/images/mlp/1.png?label=1", 422, "labels: mlp takes no labels"),
    ("/images/conv/1.png?label=10", 422, "labels: 10 is not a label of conv"),
    ("/images/conv/1.png?label=" + "9" * 5000, 422, "labels: '999"),
    ("/images/conv/1.png?label=eleven", 422, "labels: 'eleven' is not a label of conv"),
]

PATHS = [
    # method, address, status, part of the sentence
    ("GET", "/nowhere", 404, "nothing at this path"),
    ("GET", "/generate/", 404, "nothing at this path"),
    ("GET", "//livez", 404, "nothing at this path"),
    ("GET", "/./livez", 404, "nothing at this path"),
    ("GET", "/models/", 404, "nothing at this path"),
    ("GET", "/models/..%2f..%2fetc", 404, ""),
    ("GET", "/models/a%00", 404, "no model"),
    ("GET", "/playground/..%2fapp.py", 404, "no such file"),
    ("GET", "/v2/nothing", 404, "nothing at this path"),
    ("GET", "/v2/models/nobody", 404, "no model"),
    ("GET", "/v2/models/mlp/versions/01", 404, "no version"),
    ("GET", "/v2/models/mlp/versions/latest;x", 404, "no version"),
    ("GET", "/v2/models/mlp/versions/999/ready", 404, "no version"),
    ("GET", "/generate", 405, "answers POST only"),
    ("OPTIONS", "/generate", 405, "answers POST only"),
    ("PUT", "/interpolate", 405, "answers POST only"),
    ("POST", "/models", 405, "answers GET, HEAD only"),
    ("DELETE", "/models/mlp", 405, "answers GET, HEAD only"),
    ("TRACE", "/livez", 405, "answers GET, HEAD only"),
    ("GET", "/v2/models/mlp/infer", 405, "answers POST only"),
    ("GET", "/models?" + "a" * 9000, 414, "8192 bytes"),
    ("GET", "/" + "a" * 70_000, 414, "8192 bytes"),
]

HEAD = b"POST /generate HTTP/1.1\r\nHost: figment\r\nContent-Type: application/json\r\n"
BODY = b'{"seeds": [1]}'

# One reader may take for a body what another takes for the next request, so the service reads none of it.
NO_HTTP = {
    "Content-Length and Transfer-Encoding": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "the other way round": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "Content-Length twice, the same": HEAD + b"Content-Length: 14\r\nContent-Length: 14\r\n\r\n" + BODY,
    "Content-Length twice, another": HEAD + b"Content-Length: 14\r\nContent-Length: 15\r\n\r\n" + BODY,
    "Content-Length as a list": HEAD + b"Content-Length: 14, 14\r\n\r\n" + BODY,
    "Content-Length negative": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "Content-Length with a sign": HEAD + b"Content-Length: +14\r\n\r\n" + BODY,
    "Content-Length beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
    "a coding that ends in no chunks": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk's length that is none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a null byte in a header": b"GET /livez HTTP/1.1\r\nHost: figment\r\nX-A: \0\r\n\r\n",
    "a method that there is not": b"FETCH /livez HTTP/1.1\r\nHost: figment\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

# Input that a lenient parser accepts and a server must not.
NO_HOST = {
    "HTTP/1.1 without Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "Host twice": b"GET /livez HTTP/1.1\r\nHost: figment\r\nHost: figment\r\n\r\n",
    "a Host with a path": b"GET /livez HTTP/1.1\r\nHost: figment/livez\r\n\r\n",
    "a Host with a user": b"GET /livez HTTP/1.1\r\nHost: me@figment\r\n\r\n",
    "HTTP/1.0 with two": b"GET /livez HTTP/1.0\r\nHost: figment\r\nHost: figment\r\n\r\n",
}
TUNNEL = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"


@dataclass(frozen=True)
class Bad:
    """A request, its text in the table, and its rejection; ``wire`` holds bytes that no client library sends."""

    group: str
    shown: str
    status: int
    says: str
    method: str = "POST"
    address: str = "/generate"
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wire: bytes = b""


JSON = {"Content-Type": "application/json"}


def short(content):
    """Returns content as the text of a cell."""
    text = content if isinstance(content, str) else content.decode("latin-1")
    text = "".join(char if " " <= char <= "~" or char > "\xa0" else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= 100 else f"{text[:60]} … {text[-30:]} ({len(content)} bytes)"


def shown_headers(headers):
    return ", ".join(f"{name}: {short(value)}" for name, value in headers.items()) or "no Content-Type"


def rows():
    """Returns the table."""
    for route, bodies in (("/generate", GENERATE), ("/interpolate", INTERPOLATE)):
        for body, status, says in bodies:
            text = json.dumps(body)
            yield Bad(f"POST {route}", short(text), status, says, "POST", route, text.encode(), JSON)
    for content, status in BYTES:
        for route in ("/generate", "/interpolate"):
            # Valid as JSON, but not as this request.
            says = "" if status == 422 else "not valid JSON"
            yield Bad(
                "Bodies that are not JSON", f"{route}: {short(content)}", status, says, "POST", route, content, JSON
            )
    for headers, status, says in MEDIA:
        shown = shown_headers(headers)
        yield Bad("Media types", shown, status, says, "POST", "/generate", BODY, headers)
    for inputs, status, says in INFER_INPUTS:
        text = json.dumps({"inputs": inputs})
        yield Bad("POST /v2/models/mlp/infer", short(text), status, says, "POST", INFER, text.encode(), JSON)
    for message, status, says in INFER_MESSAGES:
        text = json.dumps(message | {"inputs": [seeds(1)]})
        yield Bad("POST /v2/models/mlp/infer", short(text), status, says, "POST", INFER, text.encode(), JSON)
    for content, length, status, says in INFER_BYTES:
        headers = {} if length is None else {"Inference-Header-Content-Length": length}
        shown = short(content) + ("" if length is None else f", {shown_headers(headers)}")
        yield Bad("POST /v2/models/mlp/infer", shown, status, says, "POST", INFER, content, headers)
    for content_type in ("application/vnd.bentoml+pickle", "text/plain"):
        headers = {"Content-Type": content_type}
        yield Bad(
            "POST /v2/models/mlp/infer", shown_headers(headers), 415, "octet-stream", "POST", INFER, BODY, headers
        )
    for address, status, says in IMAGES:
        yield Bad("GET /images", short(address), status, says, "GET", address)
    for method, address, status, says in PATHS:
        # Client libraries normalise paths.
        wire = f"{method} {address} HTTP/1.1\r\nHost: figment\r\nConnection: close\r\n\r\n".encode()
        shown = f"{method} {short(address)}"
        yield Bad("Paths and methods", shown, status, says, method, address, wire=wire)
    for shown, wire in NO_HTTP.items():
        yield Bad("HTTP itself", shown, 400, "not a request that HTTP/1.1 allows", wire=wire)
    for shown, wire in NO_HOST.items():
        yield Bad("HTTP itself", shown, 400, "Host: HTTP/1.1 needs one such header", wire=wire)
    yield Bad("HTTP itself", "CONNECT example.com:443", 405, "CONNECT: this service is no proxy", wire=TUNNEL)


INFER = "/v2/models/mlp/infer"
TABLE = [*rows()]
