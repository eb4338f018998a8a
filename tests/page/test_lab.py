"""Evaluation and training on the page: votes, comparisons, rows, curves."""

import pathlib
import re

import pytest

from conftest import REAL, mock_only
from test_page import CONTRAST, go, open_as_reader, overflow

QUESTION = "Combien de jours de télétravail par semaine ?"


def open_lab(page, view, selector):
    page.evaluate("view => { location.hash = '#/lab/' + view; }", view)
    page.wait_for_selector(f"main[data-view='lab'] {selector}")


def ask_two(page, question=QUESTION):
    page.fill(".arena-form input", question)
    page.click(".arena-form button")
    page.wait_for_selector(".arena-vote [data-choice]")


def test_a_vote_reveals_the_arms_and_not_before(server, open_page):
    page = open_page(server.url + "/")
    said = []
    page.on("response", lambda it: said.append(it) if "/v1/arena" in it.url else None)
    open_lab(page, "arena", ".arena-form")
    ask_two(page)
    assert page.locator(".arena-answer").count() == 2
    assert page.locator(".arena-answer .prose").first.inner_text().strip()
    before = "".join(it.text() for it in said if it.request.method == "POST")
    assert '"arm"' not in before and '"generator"' not in before and "timings_ms" not in before
    assert page.locator(".arm").count() == 0
    page.fill(".arena-vote textarea", "plus précise")
    page.click("[data-choice=right]")
    page.wait_for_selector(".arena-vote .notice.ok")
    assert "droite" in page.locator(".arena-vote .notice.ok").inner_text()
    arms = page.locator(".arena-answer .arm").all_inner_texts()
    assert len(arms) == 2 and arms[0] != arms[1]
    page.wait_for_selector(".arena-ratings tbody tr")
    assert page.locator(".arena-ratings tbody tr").count() >= 2
    if server.world:
        assert server.world.lab.votes == [(*arms, "right", "plus précise")]
    page.click("text=Une autre question")
    assert page.locator(".arena-answer").count() == 0
    assert page.evaluate("document.activeElement.matches('.arena-form input')")


@mock_only
def test_a_vote_that_fails_can_be_given_again(server, open_page):
    page = open_page(server.url + "/")
    page.watch.allowed.append("404")
    open_lab(page, "arena", ".arena-form")
    ask_two(page)
    server.world.lab.matches.clear()
    page.click("[data-choice=left]")
    page.wait_for_selector(".arena-vote .notice.bad")
    assert page.locator("[data-choice=left]").is_enabled()
    assert page.locator(".arm").count() == 0


@mock_only
def test_votes_by_keyboard_alone(server, open_page):
    page = open_page(server.url + "/")
    open_lab(page, "arena", ".arena-form")
    page.focus(".arena-form input")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".arena-vote [data-choice]")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.choice") == "both":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".arena-vote .notice.ok")
    assert server.world.lab.votes[0][2] == "both"
    assert page.evaluate("document.activeElement.closest('.arena-answer') !== null")


@mock_only
def test_a_comparison_is_browsed(server, open_page):
    page = open_page(server.url + "/")
    open_lab(page, "comparisons", ".lab-list a")
    assert "On ne peut rien conclure" in page.locator(".lab-list").inner_text()
    page.click(".lab-list a")
    page.wait_for_selector(".verdict-text")
    assert page.locator(".verdict-text code").all_inner_texts() == ["base", "rag"]
    assert "66,7" in page.locator("table").first.inner_text() or "67" in page.locator(
        "table"
    ).first.inner_text()
    # What flipped is shown first.
    assert page.locator(".question-view").count() == 1
    page.click(".question-view summary")
    sides = page.locator(".side-answer")
    assert sides.count() == 2
    assert sides.nth(0).locator(".said.no").inner_text() == "Five days."
    assert sides.nth(1).locator(".said.yes").inner_text() == "Three days per week."
    cited = sides.nth(1).locator(".cite-mark")
    assert cited.inner_text() == "[1]"
    assert cited.get_attribute("title") == "rh/teletravail-2026.md"
    page.click(".chips >> text=/^Toutes$/")
    assert page.locator(".question-view").count() == 3
    assert page.locator(".question-view >> text=écrite par un modèle").count() == 1
    assert page.locator(".question-view .tag >> text=document appris par rag").count() == 1
    page.click(".chips >> text=Écrites par un modèle")
    assert page.locator(".question-view").count() == 1
    page.click(".chips >> text=Document appris")
    assert page.locator(".question-view").count() == 1
    page.click(".chips >> text=/^Toutes$/")
    # Text of questions is text.
    assert page.locator("main b").count() == 0
    assert "<b>Who won" in page.locator(".questions").inner_text()
    page.click(".chips >> text=Personne")
    assert page.locator(".question-view").count() == 1
    page.click(".lab-back")
    page.wait_for_selector(".lab-list")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_report_is_browsed_and_kept(server, open_page, language):
    page = open_page(server.url + "/", language={"fr": "fr-FR", "en": "en-GB"}[language])
    open_lab(page, "comparisons", ".lab-list a")
    page.click(".lab-list a >> nth=0")
    page.wait_for_selector(".verdict-text")
    assert page.locator(".verdict-text").inner_text().strip()
    arms = page.locator("table >> nth=0 >> thead th").all_inner_texts()[1:]
    assert len(arms) == 2
    # Pairs of every measure that the report has, right answers first.
    metric = page.locator(".pair-metric select")
    assert metric.input_value() == "right"
    known = metric.locator("option").evaluate_all("all => all.map((it) => it.value)")
    assert {"right", "f1", "total_ms"} <= set(known)
    for value in known:
        metric.select_option(value)
        row = page.locator("table >> nth=1 >> tbody tr")
        assert row.count() == 1
        assert row.locator("th").inner_text() == f"{arms[1]} − {arms[0]}"
    # Every question with both answers side by side.
    page.click(f".chips >> text=/^{ {'fr': 'Toutes', 'en': 'All'}[language] }$/")
    first = page.locator(".question-view").first
    first.locator("summary").first.click()
    sides = first.locator(".side-answer")
    assert sides.count() == 2
    assert [it.strip() for it in sides.locator("h3 code").all_inner_texts()] == arms
    for i in range(2):
        assert sides.nth(i).locator("p").first.inner_text().strip()
    for form in ("html", "md"):
        with page.expect_download() as download:
            page.click(f".downloads a[href*='report.{form}']")
        assert download.value.suggested_filename.endswith(f".{form}")
        text = pathlib.Path(download.value.path()).read_text(encoding="utf-8")
        verdict = page.locator(".verdict-text").inner_text()
        # Names in the verdict stand in tags of the one and in back quotes of the other.
        plain = re.sub(r"\W", "", re.sub(r"</?code>", "", text))
        assert re.sub(r"\W", "", verdict)[:30] in plain


@pytest.mark.parametrize("language", ["fr", "en"])
def test_one_row_is_approved_and_another_rejected(server, open_page, language):
    page = open_page(server.url + "/", language={"fr": "fr-FR", "en": "en-GB"}[language])

    def get(path):
        return page.request.get(server.url + path).json()

    dataset = get("/v1/datasets")["data"][0]
    rows = f"/v1/datasets/{dataset['id']}/rows?kind=supervised&limit=3"
    before = [it["id"] for it in get(rows)["data"]]
    open_lab(page, "datasets", ".kind-list a")
    page.click(".kind-list a >> nth=0")
    page.wait_for_selector(".row-card")
    cards = page.locator(".row-card")
    # What another language's turn decided on the same server is opened again.
    while page.locator("[data-action=reopen]").count():
        n = page.locator("[data-action=reopen]").count()
        page.click("[data-action=reopen] >> nth=0")
        page.wait_for_function(
            "n => document.querySelectorAll('[data-action=reopen]').length < n", arg=n
        )
    assert cards.nth(0).locator("h3").inner_text() == get(rows)["data"][0]["question"]
    cards.nth(0).locator("[data-action=approve]").click()
    cards.nth(0).locator(".tag.ok").first.wait_for()
    cards.nth(1).locator("[data-action=reject]").click()
    cards.nth(1).locator(".tag.bad").first.wait_for()
    after = get(rows)["data"]
    assert [it["id"] for it in after] == before
    assert [it["decision"] for it in after] == ["approved", "rejected", "open"]
    counts = get("/v1/datasets")["data"][0]["kinds"]["supervised"]
    assert (counts["approved"], counts["rejected"]) == (1, 1)
    rejected = get(f"/v1/datasets/{dataset['id']}/rows?state=rejected")
    assert [it["id"] for it in rejected["data"]] == [before[1]]


def shape(it):
    """The keys of data, of lists those of their first entry."""
    if isinstance(it, dict):
        return {key: shape(value) for key, value in it.items()}
    return [shape(it[0])] if isinstance(it, list) and it else None


def drift(mock, real, path=""):
    """Where two shapes differ; what either leaves empty tells nothing."""
    if isinstance(mock, dict) and isinstance(real, dict):
        odd = [f"{path}.{key}" for key in mock.keys() ^ real.keys()]
        both = sorted(mock.keys() & real.keys())
        return odd + [it for key in both for it in drift(mock[key], real[key], f"{path}.{key}")]
    if isinstance(mock, list) and isinstance(real, list):
        return drift(mock[0], real[0], f"{path}[0]")
    return []


@pytest.mark.skipif(not REAL, reason="compares the mock with a server")
def test_the_mock_speaks_as_the_server_does(open_page, start):
    mock = start()
    page = open_page(mock.url + "/")

    def both(path_of):
        return [page.request.get(url + path_of(url)).json() for url in (mock.url, REAL)]

    def data(path):
        return lambda _: path

    def of_first(path, more):
        def res(url):
            first = page.request.get(url + path).json()["data"][0]["id"]
            return f"{path}/{first}{more}"

        return res

    # Measures, names of arms and what a row rests on are of each report and row.
    own = re.compile(r"\.(metrics|scores|right|written_by|meta|kinds)\.")
    for path_of in (
        data("/v1/comparisons"),
        of_first("/v1/comparisons", ""),
        data("/v1/datasets"),
        of_first("/v1/datasets", "/rows?limit=1"),
        data("/v1/arena/ratings"),
    ):
        odd = drift(*(shape(it) for it in both(path_of)))
        assert [it for it in odd if not own.search(it)] == []


@mock_only
def test_rows_are_approved_changed_and_rejected(server, open_page):
    page = open_page(server.url + "/", language="en-GB")
    open_lab(page, "datasets", ".lab-list a")
    page.click(".kind-list a")
    page.wait_for_selector(".row-card")
    cards = page.locator(".row-card")
    assert cards.count() == 20 and "23 rows" in page.locator(".filters").inner_text()
    assert "rh/conges.md" in cards.first.inner_text() and "p. 3" in cards.first.inner_text()
    cards.nth(0).locator("[data-action=approve]").click()
    cards.nth(0).locator(".tag.ok", has_text="approved").wait_for()
    cards.nth(1).locator("[data-action=reject]").click()
    cards.nth(1).locator(".tag.bad", has_text="rejected").wait_for()
    cards.nth(2).locator("textarea").fill("Another answer [1].")
    cards.nth(2).locator("[data-action=approve]").click()
    cards.nth(2).locator(".tag.run", has_text="changed").wait_for()
    rows = server.world.lab.rows
    assert [it["decision"] for it in rows[:4]] == ["approved", "rejected", "approved", "open"]
    assert [it["changed"] for it in rows[:3]] == [None, None, ["Another answer [1]."]]
    page.select_option(".filters select", "rejected")
    page.wait_for_function("() => document.querySelectorAll('.row-card').length === 1")
    page.select_option(".filters select", "")
    page.wait_for_function("() => document.querySelectorAll('.row-card').length === 20")
    page.click("text=Next")
    page.wait_for_function("() => document.querySelectorAll('.row-card').length === 3")
    page.fill(".filters input", "Question 3 ")
    page.wait_for_function("() => document.querySelectorAll('.row-card').length === 1")
    assert page.locator(".row-card textarea").input_value() == "Another answer [1]."
    page.click("[data-action=reopen]")
    page.wait_for_function("() => !document.querySelector('[data-action=reopen]')")
    assert page.locator(".row-card textarea").input_value() == "Réponse 3 [1]."
    page.click(".row-card details summary")
    assert "Vingt-cinq jours." in page.locator(".row-passage").inner_text()


@mock_only
def test_a_curve_grows_while_training_goes_on(server, open_page):
    from lab import run

    page = open_page(server.url + "/")
    open_lab(page, "runs", ".lab-list a")
    facts = page.locator(".lab-list").inner_text()
    for fact in ("étape 4 sur 8", "180 jetons/s", "encore 14 s", "1,4 Go de mémoire"):
        assert fact in facts.replace("\u202f", " ").replace("\xa0", " "), facts
    page.click(".lab-list a")
    page.wait_for_selector(".curve .line.training")
    points = "document.querySelector('.curve .line.training').getAttribute('points').split(' ').length"
    assert page.evaluate(points) == 4
    assert "validation" in page.locator(".curve").get_attribute("aria-label")
    assert page.locator("text=Ce que le modèle savait faire").count() == 0
    server.world.lab.runs[0] = run("done", 8)
    page.wait_for_function(f"() => {points} === 8")
    page.wait_for_selector("text=terminé")
    # What was forgotten, and how it was trained.
    ability = page.locator("table tbody tr")
    assert ability.nth(0).locator("td").all_inner_texts() == ["20,00", "24,00", "30 / 40", "25 / 40"]
    assert "oublié" in page.locator(".notice.warn").inner_text()
    page.click(".run-settings summary")
    settings = page.locator(".run-settings dl").inner_text()
    assert "rank" in settings and "0,0002" in settings and "non" in settings


@mock_only
def test_empty_views_name_the_command(start, open_page):
    server = start(empty=True)
    page = open_page(server.url + "/", language="en-GB")
    for view, command in (
        ("comparisons", "souffleur compare"),
        ("datasets", "souffleur dataset build"),
        ("runs", "souffleur tune"),
    ):
        open_lab(page, view, ".blank code")
        page.wait_for_function(
            "it => document.querySelector('.blank code')?.textContent.startsWith(it)", arg=command
        )


def begin(page, view):
    """Opens the form of a view, and waits for its first field."""
    open_lab(page, view, ".lab-view > .button")
    page.click(".lab-view > .button")
    page.wait_for_selector(".begin-form [type=submit]")


@mock_only
def test_work_is_begun_and_its_outcome_found(server, open_page):
    page = open_page(server.url + "/", language="en-GB")
    page.watch.allowed.append("400")
    begin(page, "datasets")
    assert page.evaluate(CONTRAST) == []
    page.fill(".begin-form input >> nth=0", "a/b")
    page.fill(".begin-form input >> nth=1", "rh, direction")
    page.click(".begin-form [type=submit]")
    page.wait_for_selector(".begin-form .notice.bad >> text=cannot be a name")
    page.fill(".begin-form input >> nth=0", "handbook")
    page.click(".begin-form [type=submit]")
    page.wait_for_selector(".job .notice.ok >> text=23 rows")
    assert page.locator("dialog").count() == 0
    page.click(".job >> text=Look at it")
    page.wait_for_selector(".kind-list")

    begin(page, "runs")
    page.fill(".begin-form input >> nth=0", "handbook")
    page.fill(".begin-form input >> nth=1", "1.5")
    page.click(".begin-form [type=submit]")
    page.wait_for_selector(".job .notice.ok >> text=The adapter handbook answers")

    begin(page, "comparisons")
    arms = page.locator(".begin-form .tick code").all_inner_texts()
    assert arms == ["extract", "base", "rag", "ft:rh-2026", "rag+ft:rh-2026"]
    page.uncheck(".begin-form .tick input >> nth=1")
    assert not page.locator(".begin-form textarea").is_visible()
    page.select_option(".begin-form select", "")
    page.fill(".begin-form textarea", '{"question": "How many?", "answers": ["3"]}\nno json')
    page.click(".begin-form [type=submit]")
    page.wait_for_selector(".begin-form .notice.bad >> text=Line 2")
    page.fill(".begin-form textarea", '{"question": "How many?", "answers": ["3"]}\n')
    page.click(".begin-form [type=submit]")
    page.wait_for_selector(".job .notice.info >> text=Nothing can be concluded.")
    page.click(".job >> nth=0 >> text=Look at it")
    page.wait_for_selector(".verdict-text")

    assert server.world.asked_jobs == [
        {"kind": "dataset", "name": "handbook", "groups": ["rh", "direction"], "questions": 0},
        {
            "kind": "tune",
            "dataset": "d1",
            "name": "handbook",
            "settings": {"method": "lora", "epochs": 1.5},
        },
        {
            "kind": "compare",
            "arms": ["extract", "rag", "ft:rh-2026", "rag+ft:rh-2026"],
            "questions": [{"question": "How many?", "answers": ["3"]}],
        },
    ]


@mock_only
def test_a_reader_votes_and_sees_no_more(start, open_page):
    page = open_as_reader(start, open_page)
    open_lab(page, "datasets", ".arena-form")
    assert page.locator(".lab-tabs a").all_inner_texts() == ["Arène"]


def test_words_of_both_languages(server, open_page):
    page = open_page(server.url + "/")
    keys = page.evaluate("""async () => Promise.all(['fr', 'en'].map(
        async (it) => Object.keys((await import(`/lab/${it}.js`)).default).sort()))""")
    assert keys[0] == keys[1] and len(keys[0]) > 100
    open_lab(page, "arena", ".arena-form")
    page.click(".side-foot .language")
    page.wait_for_selector("text=Let two answer")


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_and_width(server, open_page, dark):
    page = open_page(server.url + "/", dark=dark)
    views = [("arena", ".arena-form")]
    if not REAL:
        views += [
            ("comparisons", ".lab-list"),
            ("comparisons/0123456789abcdef-0123456789ab", ".question-view"),
            ("datasets/d1/supervised", ".row-card"),
            ("runs/rh", ".curve"),
            ("runs/old", ".run-settings"),
        ]
    for view, selector in views:
        open_lab(page, view, selector)
        if view == "arena":
            ask_two(page)
        if page.locator(".question-view").count():
            page.click(".question-view summary")
        assert page.evaluate(CONTRAST) == [], view
        nameless = page.evaluate("""() => [...document.querySelectorAll('button, a, input, select, textarea')]
            .filter((it) => it.checkVisibility())
            .filter((it) => !(it.getAttribute('aria-label') || it.textContent.trim() || it.labels?.length))
            .map((it) => it.outerHTML.slice(0, 120))""")
        assert nameless == [], view
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 860})
            assert overflow(page) <= 0, (view, width)


def test_labels_of_the_tab_bar_fit(server, open_page):
    page = open_page(server.url + "/", width=360, height=720)
    page.click(".tabbar >> text=Évaluer")
    page.wait_for_selector(".arena-form")
    cut = page.evaluate("""() => [...document.querySelectorAll('.tabbar span')]
        .filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.textContent)""")
    assert cut == []
    assert re.search("Arène", page.locator(".lab-tabs").inner_text())
    go(page, "ask", "#question")
