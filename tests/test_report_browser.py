"""Pages of a report in a real browser."""

# ruff: noqa: F401, F811 - fixtures

import math
import re
import shutil

import pytest
from report_cases import NASTY, decoded, model, model_file, report, scans, stack, written


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A real browser, without a screen, that keeps what pages log and ask for."""
    webdriver = pytest.importorskip("selenium.webdriver")
    exceptions = pytest.importorskip("selenium.common.exceptions")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1200,900", f"user-data-dir={profile}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(programs[1])
    try:
        driver = webdriver.Chrome(options=options, service=service)
    except exceptions.WebDriverException as error:  # as a stub that asks for snap
        pytest.skip(f"{programs[0]} does not start: {error.msg}")
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, written):
    """Open a page of the report; afterwards nothing may have been logged or asked for."""
    from selenium.webdriver.support.ui import WebDriverWait

    def open_page(name, theme="light"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        chromium.get((written / name).as_uri())
        chromium.execute_script("localStorage.clear()")
        chromium.refresh()
        if name != "index.html":
            ready = "return document.documentElement.dataset.viewer === 'ready'"
            WebDriverWait(chromium, 20).until(lambda driver: driver.execute_script(ready))
        return chromium

    chromium.get_log("browser"), chromium.get_log("performance")
    yield open_page
    assert chromium.get_log("browser") == []
    asked = re.findall(
        r'"requestWillBeSent".*?"url\\?":\\?"(\w+):',
        "".join(entry["message"] for entry in chromium.get_log("performance")),
    )
    assert set(asked) <= {"file", "data"}


def settled(driver, script):
    """The value of an expression after the next frames were drawn."""
    answer = f"() => requestAnimationFrame(() => arguments[0]({script}))"
    return driver.execute_async_script(f"requestAnimationFrame({answer})")


PICTURES = "[...document.querySelectorAll('.screen canvas')].map((c) => c.toDataURL())"
SLICES = (
    "[...document.querySelectorAll('figcaption .slide input')].map((s) => Number(s.value))"
)


def find(driver, selector):
    return driver.find_element("css selector", selector)


SECOND = "patients/second.html"


@pytest.mark.slow
def test_viewer_draws_every_plane(page):
    driver = page(SECOND)
    pictures = settled(driver, PICTURES)
    for picture in pictures:
        pixels = decoded(picture)[..., :3]
        assert pixels.std() > 10
    assert len(set(pictures)) == 3


@pytest.mark.slow
def test_viewer_follows_the_sliders(page):
    driver = page(SECOND)
    before, at = settled(driver, PICTURES), settled(driver, SLICES)
    key = "\ue012" if at[0] > 1 else "\ue014"  # arrow left, arrow right
    find(driver, "#axial-slice").send_keys(key)
    after = settled(driver, PICTURES)
    assert abs(settled(driver, SLICES)[0] - at[0]) == 1
    assert after[0] != before[0]
    find(driver, "#opacity").send_keys("\ue011")  # home
    assert find(driver, "output[for=opacity]").text == "0 %"
    assert settled(driver, PICTURES)[1] != after[1]


@pytest.mark.slow
def test_viewer_follows_keys_and_wheel(page):
    from selenium.webdriver import ActionChains

    driver = page(SECOND)
    start = settled(driver, SLICES)
    canvas = find(driver, "#coronal")
    canvas.send_keys("\ue013")  # arrow up
    assert settled(driver, SLICES)[1] == start[1] + 1
    canvas.send_keys("\ue015\ue015")  # arrow down
    assert settled(driver, SLICES)[1] == start[1] - 1
    driver.execute_script(
        "const up = new WheelEvent('wheel', {deltaY: -100, cancelable: true});"
        "arguments[0].dispatchEvent(up)",
        canvas,
    )
    assert settled(driver, SLICES)[1] == start[1]
    canvas.send_keys("1")
    assert settled(driver, "document.querySelector('[name=contrast]:checked').value") == "0"
    label = canvas.get_attribute("aria-label")
    assert label.startswith(f"coronal slice {start[1]} of ")
    assert label.endswith(", T1")
    ActionChains(driver).move_to_element_with_offset(canvas, 20, -10).click().perform()
    assert settled(driver, SLICES)[0] != start[0] or settled(driver, SLICES)[2] != start[2]


@pytest.mark.slow
def test_click_on_a_region_goes_there(page):
    driver = page(SECOND)
    cores = driver.execute_script(
        "return JSON.parse(document.getElementById('viewer-data').textContent).cores"
    )
    assert len(cores) > 1
    for rank in (len(cores), 1):
        find(driver, f"button[data-go='{rank}']").click()
        x, y, z = cores[rank - 1]
        assert settled(driver, SLICES) == [z + 1, y + 1, x + 1]
        assert f"region {rank}" in find(driver, "#place").text
        chosen = driver.find_elements("css selector", "tr.chosen")
        assert [row.get_attribute("data-region") for row in chosen] == [str(rank)]


@pytest.mark.slow
def test_outlines_and_contrasts_can_be_switched(page):
    driver = page(SECOND)
    seen = [settled(driver, PICTURES)[0]]
    for selector in ("#flagged", "#labelled", "#cross", "[name=contrast][value='0']"):
        find(driver, selector).click()
        seen.append(settled(driver, PICTURES)[0])
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["index.html", SECOND])
@pytest.mark.slow
def test_light_and_dark(page, name):
    from selenium.webdriver.support.ui import WebDriverWait

    background = "getComputedStyle(document.body).backgroundColor"

    def brightness(driver):
        return sum(map(int, re.findall(r"\d+", settled(driver, background))[:3])) / 3

    assert brightness(page(name, "light")) > 200
    driver = page(name, "dark")
    assert brightness(driver) < 60
    find(driver, "#theme").click()
    assert brightness(driver) > 200

    def remembered(driver):
        driver.refresh()
        return brightness(driver) > 200

    WebDriverWait(driver, 10).until(remembered)  # browsers store it in their own time


@pytest.mark.slow
def test_names_of_html_stay_text_in_a_browser(page):
    from urllib.parse import quote

    driver = page("index.html")
    href = find(driver, f"a[href^='patients/{quote('<img')}']").get_attribute("href")
    driver.get(href)
    assert find(driver, "h1").text == NASTY
    assert not driver.find_elements("css selector", "[onerror]")


@pytest.mark.slow
def test_paper_shows_pictures_instead_of_the_viewer(page):
    driver = page(SECOND, "dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert find(driver, ".static").is_displayed()
        assert not find(driver, ".viewer").is_displayed()
        background = settled(driver, "getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert math.isclose(
        settled(driver, "document.querySelector('.static').offsetHeight"), 0
    )
