"""The page of a study, opened and used in a headless Chromium: no console error, no request, nothing too wide."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from recorded import record_study

from ablations.screens.report import write_report

CHROMIUM = shutil.which("chromium")
REMEDY = "no Chromium on this machine: apt-get install -y chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READABLE = 4.5
"""Contrast that WCAG 2.2 asks of text (success criterion 1.4.3)."""
CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text()


@dataclass
class Seen:
    """A page, and what it complained of or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def order(self, table: str, column: int) -> list[str]:
        return self.page.locator(f"#{table} tbody tr > :nth-child({column})").all_inner_texts()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    file, root = record_study(folder)
    return write_report(file, root, folder / "page.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Where there is none, its tests are skipped; on CI they fail."""
    if CHROMIUM is None:
        pytest.fail(REMEDY) if "CI" in os.environ else pytest.skip(REMEDY)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


def see(context: BrowserContext, report: Path) -> Seen:
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(report.as_uri())
    return seen


def until(page: Page, condition: str) -> bool:
    """Whether `condition` comes true within ten seconds. Playwright's own waiting is eval, which the page forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return True
        page.wait_for_timeout(50)
    return False


@pytest.fixture
def seen(browser: Browser, report: Path) -> Iterator[Seen]:
    """Every test of the page ends with: it complained of nothing, and asked for nothing."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_offline(True)
    found = see(context, report)
    yield found
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith("data:")] == [report.as_uri()]
    context.close()


def test_what_a_study_says_is_shown_and_not_run(seen):
    assert seen.page.title() == "planted · Vision is the bottleneck"
    assert "</script><script>document.title = 'owned'</script>" in seen.page.locator("h1").inner_text()
    assert seen.page.locator("#plot-contrasts b", has_text="of vision").count() == 0


def test_a_header_sorts_its_table_by_mouse_and_by_keyboard(seen):
    assert seen.order("slots", 1) == ["vision", "projector", "embeddings", "language"]
    header = seen.page.locator("#slots thead th", has_text="freeze cost")
    assert header.get_attribute("aria-sort") == "none"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert seen.order("slots", 1) == ["vision", "language", "projector", "embeddings"]
    header.get_by_role("button").focus()
    seen.page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert seen.order("slots", 1) == ["language", "vision", "projector", "embeddings"]
    other = seen.page.locator("#slots thead th", has_text="slot")
    other.get_by_role("button").click()
    assert (header.get_attribute("aria-sort"), other.get_attribute("aria-sort")) == ("none", "descending")
    assert seen.order("slots", 1) == ["vision", "projector", "language", "embeddings"]


def test_a_row_of_the_forest_plot_tells_its_figures_on_hover_and_on_focus(seen):
    rows = seen.page.locator("#plot-contrasts li.row")
    tips = rows.locator(".tip")
    assert [tips.nth(i).is_visible() for i in range(3)] == [False, False, False]
    rows.nth(1).hover()
    assert tips.nth(1).is_visible()
    for wanted in ("difference", "3 training seeds × 30 episodes", "Holm", "McNemar", "smallest detectable effect"):
        assert wanted in tips.nth(1).inner_text()
    seen.page.mouse.move(0, 0)
    rows.nth(0).focus()
    assert tips.nth(0).is_visible() and not tips.nth(1).is_visible()
    seen.page.keyboard.press("Escape")
    assert not tips.nth(0).is_visible()


def test_an_arm_of_the_plot_leads_to_the_ledger_and_provenance_behind_it(seen):
    seen.page.locator("#plot-success a", has_text="freeze-language").click()
    details = seen.page.locator("#provenance > details[open]")
    assert details.locator("h3").inner_text() == "freeze-language"
    assert details.locator("table").first.locator("tr", has_text="language").inner_text().split()[-1] == "unmoved"
    details.get_by_text("Result, machine and versions").first.click()
    assert details.get_by_text("d" * 64).first.is_visible()
    details.get_by_text("Plan", exact=True).first.click()
    assert '"kind": "finetune"' in details.locator("pre").first.inner_text()


def test_details_open_and_close_by_themselves_and_all_at_once(seen):
    arms = seen.page.locator("#provenance > details")
    first = arms.first.locator("> summary")
    first.click()
    assert arms.first.get_attribute("open") is not None
    first.focus()
    seen.page.keyboard.press("Space")
    assert arms.first.get_attribute("open") is None
    seen.page.get_by_role("button", name="Open all").click()
    assert seen.page.locator("#provenance > details[open]").count() == arms.count() == 9
    seen.page.get_by_role("button", name="Close all").click()
    assert seen.page.locator("#provenance > details[open]").count() == 0


def test_a_learning_curve_is_read_by_mouse_and_by_arrow_keys(seen):
    panel = seen.page.locator(".panel").first
    panel.locator(".chart").hover()
    assert panel.locator("output").inner_text().startswith("step 6")
    assert "seed 2 0." in panel.locator("output").inner_text()
    seen.page.mouse.move(0, 0)
    assert panel.locator("output").inner_text() == ""
    panel.focus()
    last = panel.locator("output").inner_text()
    seen.page.keyboard.press("ArrowLeft")
    assert panel.locator("output").inner_text() != last
    assert panel.locator(".cursor").evaluate("(line) => getComputedStyle(line).display") == "block"


def test_two_arms_are_played_side_by_side_on_the_same_episode(seen):
    page = seen.page
    page.locator("select[name=left-arm]").select_option("freeze-vision")
    page.locator("select[name=right-arm]").select_option("blank-image")
    page.locator("select[name=left-seed]").select_option("2")
    page.locator("select[name=episode]").select_option("reach 1")
    assert until(page, "[...document.querySelectorAll('video')].every((v) => v.readyState === 4 && v.videoWidth > 0)")
    labels = [video.get_attribute("aria-label") or "" for video in page.locator("video").all()]
    assert [label.split(":")[0] for label in labels] == [
        "freeze-vision, seed 2, episode reach 1",
        "blank-image, seed 0, episode reach 1",
    ]
    assert "Instruction: reach the <u>red</u> block" in page.locator(".instruction").inner_text()
    outcomes = page.locator(".outcome").all_inner_texts()
    assert all("after 3 steps" in outcome for outcome in outcomes)
    page.get_by_role("button", name="Play both").click()
    assert until(page, "[...document.querySelectorAll('video')].every((v) => v.ended)")
    assert until(page, "document.querySelector('[name=play]').textContent === 'Play both'")
    assert float(page.locator("[name=time]").input_value()) > 0.9


def test_arms_without_the_same_seeds_offer_the_seeds_that_they_have(seen):
    page = seen.page
    page.locator("select[name=right-arm]").select_option("blank-image")
    assert page.locator("select[name=right-seed] option").all_inner_texts() == ["0"]
    assert page.locator("select[name=left-seed] option").all_inner_texts() == ["0", "1", "2"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_the_page_is_readable_in_either_scheme_and_not_wider_than_a_phone(browser, report, tmp_path, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = see(context, report).page
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = page.evaluate("[...document.querySelectorAll('.box')].map((b) => [b.scrollWidth, b.clientWidth])")
    assert any(inner > outer for inner, outer in boxes) or width > 360
    pale = [(ratio, words) for ratio, words in page.evaluate(CONTRASTS) if ratio < READABLE]
    assert pale == []
    context.close()


def test_on_paper_every_arm_is_open(browser, report):
    context = browser.new_context()
    page = see(context, report).page
    assert len(page.pdf()) > 20_000
    assert page.locator("#provenance > details[open]").count() == 9
    context.close()


def test_without_scripts_everything_but_the_films_can_be_read(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = see(context, report).page
    assert page.get_by_text("Vision is the bottleneck").first.is_visible()
    assert page.get_by_text("The films need JavaScript").is_visible() and not page.locator("#viewer").is_visible()
    context.close()
