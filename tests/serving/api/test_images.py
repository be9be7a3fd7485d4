"""Images by address, for ``<img>``, browser caches and CDNs."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image


def picture(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize(
    ("extension", "media_type"), [("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")]
)
def test_the_address_names_the_format(client, extension, media_type):
    answer = client.get(f"/images/conv/42.{extension}", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-figment-seeds"] == "42"
    assert "server-timing" in answer.headers
    assert picture(answer).shape[:2] == (16, 16)


def test_the_image_equals_that_of_a_post(client):
    body = {"seeds": [7], "model": "conv", "labels": 3, "truncation": 0.5}
    posted = client.post("/generate", json=body)
    assert client.get("/images/conv/7.png?label=3&truncation=0.5").content == posted.content
    assert client.get("/images/conv/7.png?truncation=0.5&label=three").content == posted.content
    assert client.get("/images/conv/7.png").content != posted.content


def test_quality_changes_the_size(client):
    low, high = (client.get(f"/images/mlp/1.jpg?quality={quality}").content for quality in (5, 95))
    assert len(low) < len(high)


def test_only_addresses_with_a_version_are_immutable(client):
    assert client.get("/images/mlp/1.png?version=2").headers["cache-control"] == "public, max-age=31536000, immutable"
    newest = client.get("/images/mlp/1.png")
    assert newest.headers["cache-control"] == "public, max-age=60"
    assert newest.content == client.get("/images/mlp/1.png?version=2").content
    assert newest.content != client.get("/images/mlp/1.png?version=1").content


def test_a_client_that_has_the_image_gets_304(client):
    first = client.get("/images/mlp/1.png?version=2")
    etag = first.headers["etag"]
    assert etag.startswith('"'), "a strong tag"
    assert etag.endswith('"')
    for sent in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = client.get("/images/mlp/1.png?version=2", headers={"If-None-Match": sent})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert client.get("/images/mlp/1.png?version=2", headers={"If-None-Match": '"other"'}).status_code == 200
    others = ("/images/mlp/2.png?version=2", "/images/mlp/1.png?version=1", "/images/mlp/1.webp?version=2")
    assert etag not in {client.get(other).headers["etag"] for other in others}


def test_head_has_the_same_headers_without_the_image(client):
    got, asked = client.get("/images/mlp/1.png"), client.head("/images/mlp/1.png")
    assert asked.content == b""
    for name in ("etag", "content-length", "content-type", "cache-control"):
        assert asked.headers[name] == got.headers[name]


def test_other_methods_are_rejected(client):
    answer = client.post("/images/mlp/1.png")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_metrics_use_the_template_as_label(client):
    client.get("/images/mlp/123454321.png")
    text = client.get("/metrics").text
    assert 'route="/images/{model}/{seed}.{format}"' in text
    assert "123454321" not in text


def test_addresses_and_posts_in_one_batch_keep_their_bytes(service):
    """Sixty-four at once through both routes return the same bytes as each alone."""
    import asyncio

    async def ask() -> list[bytes]:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            calls = [client.get(f"/images/mlp/{seed}.png?version=2") for seed in range(32)]
            calls += [client.post("/generate", json={"model": "mlp", "seeds": [seed]}) for seed in range(32)]
            return [answer.content for answer in await asyncio.gather(*calls)]

    together = asyncio.run(ask())
    assert together[:32] == together[32:]
    alone = httpx.get(f"{service.url}/images/mlp/5.png?version=2").content
    assert together[5] == alone
