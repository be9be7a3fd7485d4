"""Past vulnerabilities of BentoML and Starlette do not come back here: docs/security.md names each."""

import os
import pickle
import time

import pytest

POSTS = ("/generate", "/interpolate", "/v2/models/mlp/infer")


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("path", [*POSTS, "/", "/mlp", "/predict", "/images", "/__bentoml__/call"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/vnd.bentoml+pickle"},
        {"Content-Type": "application/pickle"},
        {"Content-Type": "application/json", "Payload-Container": "NdarrayContainer", "Payload-Meta": "{}"},
        {"Content-Type": "application/vnd.bentoml.multiple_outputs", "Args-Number": "1", "Bento-Is-Batch": "true"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
def test_no_route_unpickles_a_body(client, tmp_path, path, headers):
    """CVE-2024-2912, CVE-2025-27520, CVE-2025-32375."""
    marker = tmp_path / "ran"
    body = pickle.dumps(Evil(marker))
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 404, 405, 415), answer.text
    assert not marker.exists()
    pickle.loads(body)
    assert marker.exists(), "the body is as evil as it looks"


@pytest.mark.parametrize("path", POSTS)
def test_forms_are_refused_unparsed(client, path):
    """CVE-2024-9056, CVE-2023-30798, CVE-2024-47874, CVE-2025-54121: boundaries, parts and files of forms."""
    started = time.monotonic()
    head = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (
        b"--x\r\n" * 1000,
        b"--x" + b"-" * 100_000,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
    ):
        assert client.post(path, content=body, headers=head).status_code in (413, 415)
    assert client.post(path, data={"a": "1"}).status_code == 415
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("path", POSTS)
def test_no_address_in_a_body_is_fetched(client, path):
    """CVE-2025-54381: a file's place could hold an address, which the service then fetched."""
    for body in ({"seeds": "http://169.254.169.254/"}, {"noise": "file:///etc/passwd"}, {"image": "http://[::1]/"}):
        assert client.post(path, json=body).status_code in (422, 400)


def test_ranges_and_paths_of_files(client):
    """CVE-2025-62727, CVE-2023-29159, CVE-2026-48818: ranges, and paths out of the folder."""
    many = "bytes=" + ",".join(f"{first}-" for first in range(3000))
    answer = client.get("/playground/playground.js", headers={"Range": many})
    assert answer.status_code == 200
    for path in (
        "..%2fapp.py",
        "%2e%2e/app.py",
        "%2fetc%2fpasswd",
        "..%5capp.py",
        "playground.js%00",
        "../playgroundx",
    ):
        assert client.get(f"/playground/{path}").status_code == 404


@pytest.mark.parametrize("host", ["a/b", "a?b", "a#b", "evil@a", "a b"])
def test_a_malformed_host_changes_no_path(client, host):
    """CVE-2026-48710."""
    assert client.get("/readyz", headers={"Host": host}).status_code == 400
