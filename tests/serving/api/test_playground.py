"""The playground in a browser."""

import base64
import json
import os
import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

HEADLESS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    path = shutil.which("chromium")
    if not path and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("chromium is not installed")
    assert path, "chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(HEADLESS))
        yield browser
        browser.close()


@pytest.fixture
def problems():
    """The errors in the page's console; a test that provokes one clears the list."""
    return []


@pytest.fixture
def visit(browser, service, problems):
    """Opens the playground: called with a hash and options of the browser's context."""
    contexts = []

    def on_console(message):
        if message.type in ("error", "warning"):
            problems.append(message.text)

    def on_request(request):
        if not request.url.startswith((f"{service.url}/", "data:", "blob:")):
            problems.append(f"asked {request.url}")

    def open_page(state="", prepare=None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", on_console)
        page.on("request", on_request)
        page.on("pageerror", lambda error: problems.append(str(error)))
        if prepare:
            prepare(page)
        page.goto(f"{service.url}/{state}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def arrived(page, count):
    expect(page.locator(".tile.arrived")).to_have_count(count)


def addresses(page):
    return [image.get_attribute("src") for image in page.locator(".tile img").all()]


CONV = "#model=conv&version=1&seeds=0-7"


def test_the_grid_fills(visit, service):
    page = visit()
    arrived(page, 40)
    expect(page.locator("#model option:checked")).to_have_text("mlp · version 2")
    assert addresses(page) == [f"{service.url}/images/mlp/{seed}.png?version=2" for seed in range(40)]
    assert page.locator(".tile img").evaluate_all("images => images.every(image => image.naturalWidth === 16)")
    expect(page.locator("#labels")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("40 images in")
    assert "model=mlp&version=2&seeds=0-39" in page.url


def test_seeds_are_in_stylegans_notation(visit, service):
    page = visit()
    page.get_by_label("Seeds", exact=True).fill("3-5, 42")
    page.keyboard.press("Enter")
    expect(page.locator(".tile")).to_have_count(4)
    assert [re.search(r"(\d+)\.png", address)[1] for address in addresses(page)] == ["3", "4", "5", "42"]


def test_shuffle_draws_the_same_number_of_seeds(visit):
    page = visit(CONV)
    arrived(page, 8)
    before = addresses(page)
    page.get_by_role("button", name="Shuffle").click()
    arrived(page, 8)
    assert not set(before) & set(addresses(page))


def test_another_model(visit, service, client):
    page = visit("#seeds=1-2")
    arrived(page, 2)
    page.get_by_label("Model", exact=True).select_option("conv · version 1")
    arrived(page, 2)
    assert addresses(page) == [f"{service.url}/images/conv/{seed}.png?version=1" for seed in (1, 2)]
    names = client.get("/models/conv").json()["labels"]
    expect(page.locator(".chip")).to_have_text(["any", *names])


def test_label_and_truncation_are_in_the_addresses_and_in_the_hash(visit, service):
    page = visit(CONV)
    page.locator(".chip", has_text="seven").click()
    page.get_by_label("Truncation").fill("0.5")
    wanted = f"{service.url}/images/conv/0.png?version=1&label=seven&truncation=0.5"
    expect(page.locator(".tile img").first).to_have_attribute("src", wanted)
    arrived(page, 8)
    page.wait_for_url(re.compile("#model=conv&version=1&seeds=0-7&label=seven&truncation=0.5$"))
    again = visit(page.url.removeprefix(f"{service.url}/"))
    arrived(again, 8)
    assert addresses(again) == addresses(page)
    expect(again.get_by_role("radio", name="seven")).to_be_checked()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,cat", "“cat” is no seed"),
        ("9-3", "did you mean 3-9?"),
        ("4294967296", "A seed is at most 4294967295"),
        ("0-4294967295", "up to 256 images"),
        ("", "Write a seed"),
    ],
)
def test_bad_seeds_show_an_error_and_the_grid_stays(visit, text, sentence):
    page = visit(CONV)
    arrived(page, 8)
    page.get_by_label("Seeds", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_label("Seeds", exact=True)).to_have_attribute("aria-invalid", "true")
    arrived(page, 8)
    page.get_by_label("Seeds", exact=True).fill("5")
    arrived(page, 1)
    expect(page.locator("#error")).to_be_hidden()


def test_the_services_error_is_shown_with_a_retry(visit, problems):
    rejection = {"error": "The queue is full.", "detail": []}

    def reject(page):
        page.route("**/images/**", lambda route: route.fulfill(status=429, json=rejection))

    page = visit(CONV, reject)
    expect(page.get_by_role("alert")).to_contain_text("The queue is full.")
    page.unroute("**/images/**")
    problems.clear()
    page.get_by_role("button", name="Try again").click()
    arrived(page, 8)
    expect(page.locator("#error")).to_be_hidden()


def test_a_click_opens_the_image_with_its_address_and_curl_line(visit, service, client):
    page = visit(f"{CONV}&label=three&truncation=0.5", permissions=["clipboard-read", "clipboard-write"])
    page.locator(".tile").nth(4).click()
    dialog = page.get_by_role("dialog", name="Seed 4")
    expect(dialog).to_be_visible()
    address = f"{service.url}/images/conv/4.png?version=1&label=three&truncation=0.5"
    expect(dialog.locator("#address")).to_have_text(address)
    expect(dialog.locator("#viewer-image")).to_have_attribute("src", address)
    expect(dialog.locator("#viewer-image")).to_have_css("image-rendering", "pixelated")
    expect(dialog.get_by_role("link", name="Download")).to_have_attribute("download", "conv-4.png")
    line = dialog.locator("#curl").text_content()
    start, body, end = line.split("'")[0], line.split("'")[3], line.split("'")[4]
    assert (start, end) == (f"curl -s {service.url}/generate -H ", " -o conv-4.png")
    posted = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert posted.content == client.get(address).content
    dialog.get_by_role("button", name="Copy the curl line").click()
    expect(dialog.get_by_role("button", name="Copy the curl line")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == line
    assert page.url.endswith("&open=4")
    expect(visit(page.url.removeprefix(f"{service.url}/")).get_by_role("dialog", name="Seed 4")).to_be_visible()


SPRITE = "#model=sprite&version=1&seeds=0-7"


def test_transparent_images_lie_on_a_checkerboard(visit):
    page = visit(SPRITE)
    arrived(page, 8)
    checkerboard = re.compile("repeating-conic-gradient")
    expect(page.locator(".tile img").first).to_have_css("background-image", checkerboard)
    page.locator(".tile").nth(4).click()
    expect(page.locator("#viewer-image")).to_have_css("background-image", checkerboard)
    page.keyboard.press("Escape")
    page.get_by_label("Model", exact=True).select_option("mlp · version 2")
    arrived(page, 8)
    expect(page.locator(".tile img").first).to_have_css("background-image", "none")


def test_a_transparent_image_as_a_jpeg_on_a_colour(visit, service, client):
    walks = []

    def keep(request):
        if request.url.endswith("/interpolate"):
            walks.append(json.loads(request.post_data))

    page = visit(f"{SPRITE}&open=4", lambda page: page.on("request", keep))
    dialog = page.get_by_role("dialog")
    address, slider = dialog.locator("#address"), dialog.get_by_label("How far along the walk")
    expect(address).to_have_text(f"{service.url}/images/sprite/4.png?version=1")
    expect(dialog.get_by_label("Background")).to_be_disabled()
    expect(slider).to_be_enabled()
    dialog.get_by_label("File").select_option("JPEG, on a colour")
    expect(address).to_have_text(f"{service.url}/images/sprite/4.jpg?version=1&background=%23ffffff")
    dialog.get_by_label("Background").fill("#ffd700")
    dialog.get_by_label("Background").dispatch_event("change")
    gold = f"{service.url}/images/sprite/4.jpg?version=1&background=%23ffd700"
    expect(address).to_have_text(gold)
    expect(dialog.locator("#viewer-image")).to_have_attribute("src", gold)
    expect(dialog.get_by_role("link", name="Download")).to_have_attribute("download", "sprite-4.jpg")
    _, _, _, body, end = dialog.locator("#curl").text_content().split("'")
    assert end == " -o sprite-4.jpg"
    posted = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert posted.content == client.get(gold).content
    expect(slider).to_be_enabled()
    assert [walk.get("background") for walk in (walks[0], walks[-1])] == [None, "#ffd700"]
    dialog.get_by_role("button", name="Next image").click()
    expect(address).to_have_text(gold.replace("4.jpg", "5.jpg"))
    dialog.get_by_label("File").select_option("PNG, transparent")
    expect(address).to_have_text(f"{service.url}/images/sprite/5.png?version=1")


def test_the_choice_of_a_file_is_for_transparent_images(visit, service):
    page = visit(f"{SPRITE}&open=4")
    page.get_by_label("File").select_option("JPEG, on a colour")
    page.get_by_role("button", name="Close").click()
    page.get_by_label("Model", exact=True).select_option("conv · version 1")
    arrived(page, 8)
    page.locator(".tile").nth(4).click()
    expect(page.locator("#address")).to_have_text(f"{service.url}/images/conv/4.png?version=1")
    expect(page.get_by_label("File")).to_be_hidden()
    expect(page.locator("#viewer-image")).to_have_css("background-image", "none")


def test_keyboard(visit):
    page = visit(CONV, viewport={"width": 600, "height": 800})
    arrived(page, 8)
    page.get_by_role("radio", name="any").focus()
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_attribute("data-seed", "0")
    assert focused.evaluate("tile => getComputedStyle(tile).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    expect(focused).to_have_attribute("data-seed", "1")
    page.keyboard.press("ArrowDown")
    below = int(focused.get_attribute("data-seed"))
    assert page.locator(".tile").nth(below).bounding_box()["x"] == page.locator(".tile").nth(1).bounding_box()["x"]
    page.keyboard.press("End")
    expect(focused).to_have_attribute("data-seed", "7")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Seed 7")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("dialog", name="Seed 6")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(focused).to_have_attribute("data-seed", "6")
    assert "open=" not in page.url


def test_a_walk_to_another_seed(visit, client):
    data = base64.b64encode(client.get("/images/conv/1.png").content).decode()
    asked = []

    def answer(route):
        asked.append((json.loads(route.request.post_data), route.request.headers["accept"]))
        images = [{"position": step / 8, "format": "png", "data": data} for step in range(9)]
        route.fulfill(json={"model": "conv", "version": 1, "images": images})

    page = visit(f"{CONV}&label=two&open=3", lambda page: page.route("**/interpolate", answer))
    slider = page.get_by_label("How far along the walk")
    expect(slider).to_be_visible()
    expect(slider).to_be_enabled()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#walk-hint")).to_have_text("13 % of the way")
    expect(page.locator("#viewer-image")).to_have_attribute("src", f"data:image/png;base64,{data}")
    assert page.locator("#viewer-image").evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    page.get_by_label("Walk to seed").fill("99")
    page.keyboard.press("Tab")
    expect(slider).to_have_value("0")
    expect(slider).to_be_enabled()
    common = {"model": "conv", "version": 1, "steps": 9, "labels": 2, "truncation": 1, "format": "png"}
    walks = [common | {"from": {"seed": 3}, "to": {"seed": to}} for to in (4, 99)]
    assert asked == [(walk, "application/json") for walk in walks]


def test_a_walk_shows_the_services_images(visit, client):
    page = visit("#model=conv&seeds=3-4&open=3")
    slider = page.get_by_label("How far along the walk")
    expect(slider).to_be_enabled()
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#walk-hint")).to_have_text("50 % of the way")
    walk = {"model": "conv", "from": {"seed": 3}, "to": {"seed": 4}, "steps": 9}
    middle = client.post("/interpolate", json=walk).json()["images"][4]["data"]
    expect(page.locator("#viewer-image")).to_have_attribute("src", f"data:image/png;base64,{middle}")


def test_a_phone_scrolls_in_one_direction_only(visit):
    page = visit(CONV, viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    arrived(page, 8)
    fits = "() => document.documentElement.scrollWidth <= 375 && innerWidth === 375"
    assert page.evaluate(fits)
    page.locator(".tile").first.tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate(fits)
    assert page.locator("#viewer").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_colour_scheme_and_reduced_motion(visit):
    grounds = set()
    for scheme in ("light", "dark"):
        page = visit(CONV, color_scheme=scheme, reduced_motion="reduce")
        arrived(page, 8)
        ground = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground))) / 3
        assert brightness > 200 if scheme == "light" else brightness < 60
        grounds.add(ground)
        expect(page.locator(".tile img").first).to_have_css("animation-name", "none")
    assert len(grounds) == 2


PREFIX = "/team/figment"


def behind_a_prefix(service):
    """A proxy that strips a prefix from each path; requests of the page without the prefix get no response."""

    def answer(route):
        path = route.request.url.removeprefix(service.url)
        if path.startswith(f"{PREFIX}/"):
            route.fulfill(response=route.fetch(url=service.url + path.removeprefix(PREFIX)))
        else:
            route.fulfill(status=502, body="no such place")

    return lambda page: page.route("**/*", answer)


def test_the_playground_behind_a_path_prefix(visit, service):
    page = visit(f"{PREFIX.removeprefix('/')}/{CONV}&open=3", behind_a_prefix(service))
    arrived(page, 8)
    assert addresses(page)[0] == f"{service.url}{PREFIX}/images/conv/0.png?version=1"
    expect(page.get_by_label("How far along the walk")).to_be_enabled()
    expect(page.locator("#curl")).to_contain_text(f"curl -s {service.url}{PREFIX}/generate ")
    assert page.locator(".to-docs").evaluate("link => link.href") == f"{service.url}{PREFIX}/docs"


def test_the_docs_behind_a_path_prefix(visit, service):
    """The page was empty there: its addresses were absolute."""
    page = visit(f"{PREFIX.removeprefix('/')}/docs", behind_a_prefix(service))
    box = page.locator("details", has_text="GET /models ").first
    box.locator("summary").click()
    expect(box.locator("pre").first).to_have_text(f"curl -sS -o answer '{service.url}{PREFIX}/models'")
    box.get_by_role("button", name="Try it").click()
    expect(box.locator("p", has_text="200 application/json")).to_be_visible()
    links = page.locator("p a").evaluate_all("links => links.map(link => link.href)")
    assert links == [f"{service.url}{PREFIX}/openapi.json", f"{service.url}{PREFIX}/"]
    # A relative server URL resolves against the document's address.
    assert page.request.get(f"{service.url}/openapi.json").json()["servers"] == [{"url": "."}]


@pytest.fixture(scope="module")
def locked(serve, zoo):
    """A service that needs a key."""
    with serve(models=zoo, default_model="mlp", max_batch=4, api_keys="a-key") as server:
        server.wait(lambda answer: answer.status_code == 200)
        yield server


def test_the_browser_asks_for_a_key(browser, locked):
    """The user enters the key as password; the browser sends it with every image and request."""
    with browser.new_context(http_credentials={"username": "anybody", "password": "a-key"}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        assert page.goto(locked.url).status == 200
        page.goto(f"{locked.url}/{CONV}&open=3")
        arrived(page, 8)
        expect(page.get_by_label("How far along the walk")).to_be_enabled()
        page.goto(f"{locked.url}/docs")
        expect(page.locator("details", has_text="POST /generate").first).to_be_visible()


def test_without_the_key_there_is_no_page(browser, locked):
    with browser.new_context(http_credentials={"username": "anybody", "password": "another"}) as context:
        answer = context.new_page().goto(locked.url)
        assert answer.status == 401
        assert "this key is not known here" in answer.text()


FILES = {
    "/": "text/html; charset=utf-8",
    "/playground/playground.css": "text/css; charset=utf-8",
    "/playground/playground.js": "text/javascript; charset=utf-8",
    "/playground/icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize(("path", "media_type"), FILES.items())
def test_headers(client, path, media_type):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data: blob:;")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "public, max-age=60"
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("name", ["", "nothing.js", "../app.py", "..%2fapp.py", "index.html/", "%00"])
def test_there_are_no_other_files(client, name):
    answer = client.get(f"/playground/{name}")
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_metrics_use_the_templates(client):
    client.get("/")
    client.get("/playground/17171717.js")
    text = client.get("/metrics").text
    assert 'route="/"' in text
    assert 'route="/playground/{file}"' in text
    assert "17171717" not in text
