"""The page in a real browser: what readers do with it, in both languages, on all screens.

pip install pytest playwright && pytest tests/page
"""

import re

import pytest

from conftest import REAL, mock_only

QUESTION = {
    "fr": "Combien de jours de télétravail par semaine ?",
    "en": "How many days of remote work are allowed per week?",
}
FIRST_LOAD_MAX = 150_000


def ask(page, question):
    before = page.locator(".actions").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_function("n => document.querySelectorAll('.actions').length > n", arg=before)


def go(page, view, selector="main h1"):
    page.evaluate("view => { location.hash = '#/' + view; }", view)
    page.wait_for_selector(
        f"main[data-view='{view.split('/')[0]}'] {selector.removeprefix('main ')}"
    )


def overflow(page):
    """Pixels by which the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


# What is loaded


def test_first_load_is_light(server, open_page):
    sizes = {}
    page = open_page(server.url + "/")
    page.on(
        "response",
        lambda it: sizes.__setitem__(it.url, len(it.body())) if "/v1/" not in it.url else None,
    )
    # As a first visitor, who has none of it yet.
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.reload()
    page.wait_for_selector("#question")
    page.wait_for_load_state("networkidle")
    print(sum(sizes.values()), "bytes in", len(sizes), "files")
    assert any(it.endswith("/app.js") for it in sizes)
    assert sum(sizes.values()) <= FIRST_LOAD_MAX


def test_languages_have_the_same_words(server, open_page):
    page = open_page(server.url + "/")
    keys = page.evaluate("""async () => Promise.all(['fr', 'en'].map(
        async (it) => Object.keys((await import(`/${it}.js`)).default).sort()))""")
    assert keys[0] == keys[1] and len(keys[0]) > 300


# Asking


@pytest.mark.parametrize("language", ["fr", "en"])
def test_ask_and_open_a_citation(server, open_page, language):
    page = open_page(
        server.url + "/", language=f"{language}-{language.upper()}" if language == "fr" else "en-GB"
    )
    assert page.get_attribute("html", "lang") == language
    ask(page, QUESTION[language])
    answer = page.locator(".answer .prose").inner_text()
    assert re.search(r"trois|three|3", answer), answer
    # What a small model writes may go beyond its source, and is marked so.
    assert page.locator(".badge.supported, .badge.partly").count() >= 1
    assert page.locator(".summary").is_visible()
    mark = page.locator(".cite").first
    mark.click()
    page.wait_for_selector("#panel .doc-text mark.evidence")
    evidence = " ".join(page.locator("#panel .doc-text mark.evidence").all_inner_texts())
    assert re.search(r"trois jours|three days", evidence), evidence
    link = page.locator("#panel .passage-links a").first.get_attribute("href")
    assert re.fullmatch(r"/v1/sources/[^#]+#char=\d+-\d+", link)
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert mark.evaluate("it => it === document.activeElement")


@mock_only
def test_verdicts_have_shape_colour_and_words(server, open_page):
    page = open_page(server.url + "/")
    ask(page, QUESTION["fr"])
    for verdict, icon, words in (
        ("supported", "check", "étayée"),
        ("partly", "partly", "étayée en partie"),
        ("unsupported", "bang", "non étayée"),
    ):
        badge = page.locator(f".answer .prose .badge.{verdict}").first
        assert badge.locator(f".icon-{icon}").count() == 1
        assert badge.get_attribute("aria-label") == f"Vérification\u00a0: {words}"
    assert page.locator(".sentence[data-verdict=partly]").inner_text().startswith("Chaque jour")
    page.locator(".badge.partly").focus()
    tip = page.locator(".tip").inner_text()
    assert "Absent du passage\u00a0: «\u00a060 €\u00a0»" in tip, tip
    assert "L’entreprise verse" in tip and "57,20" in tip
    assert page.locator(".badge.partly").get_attribute("aria-describedby") == page.locator(
        ".tip"
    ).get_attribute("id")
    page.keyboard.press("Escape")
    assert page.locator(".tip").count() == 0
    # The second sentence has no mark of its own: the check's attribution gives it one.
    assert page.locator(".prose p .cite").count() == 2
    assert "rh/teletravail-2023.md" in page.locator(".notice.warn").inner_text()


def test_why(server, open_page):
    page = open_page(server.url + "/")
    ask(page, QUESTION["fr"])
    page.click("button:has-text('Pourquoi')")
    page.wait_for_selector("dialog .numbers tbody tr")
    dialog = page.locator("dialog")
    assert dialog.locator(".numbers tbody tr").count() >= 1
    assert re.search(r"nᵒ 1", dialog.inner_text())
    assert "Passages écartés" in dialog.inner_text()
    if not REAL:
        assert "dépassé" in dialog.inner_text()
        assert "## Nombre de jours" in dialog.locator(".message pre").last.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


def test_feedback(server, open_page):
    page = open_page(server.url + "/")
    ask(page, QUESTION["fr"])
    page.click("[aria-label='Mauvaise réponse']")
    page.wait_for_selector("[aria-label='Mauvaise réponse'][aria-pressed=true]")
    form = page.locator(".feedback")
    form.get_by_text("Mauvaise source").click()
    form.locator("textarea").first.fill("Trois jours, et un à temps partiel.")
    form.locator(".label-row").nth(0).get_by_text("oui", exact=True).click()
    form.locator(".label-row").nth(1).get_by_text("non", exact=True).click()
    form.locator("button[type=submit]").click()
    page.wait_for_selector(".feedback-done")
    page.reload()
    page.wait_for_selector("[aria-label='Mauvaise réponse'][aria-pressed=true]")
    if server.world:
        sent = list(server.world.feedback.values())
        assert len(sent) == 1
        assert sent[0]["rating"] == "down" and sent[0]["reason"] == "wrong_source"
        assert sent[0]["correction"] == "Trois jours, et un à temps partiel."
        assert sent[0]["labels"] == {"helpful": True, "honest": False}
        # A second click on the same thumb keeps what was said before.
        page.click("[aria-label='Mauvaise réponse']")
        assert page.locator(".feedback textarea").first.input_value() == sent[0]["correction"]
        assert list(server.world.feedback.values())[0]["reason"] == "wrong_source"


@mock_only
def test_stop(start, open_page):
    server = start(slow=30)
    page = open_page(server.url + "/")
    page.fill("#question", QUESTION["fr"])
    page.press("#question", "Enter")
    page.wait_for_selector(".prose.draft p")
    page.click("[aria-label='Arrêter']")
    page.wait_for_selector("text=ce brouillon n’a pas été vérifié")
    assert page.locator(".badge").count() == 0
    page.wait_for_selector("[aria-label='Demander']")
    for _ in range(100):
        if "/v1/ask" in server.world.stopped:
            break
        page.wait_for_timeout(100)
    assert "/v1/ask" in server.world.stopped


@mock_only
def test_refusal_is_plain(server, open_page):
    page = open_page(server.url + "/")
    ask(page, "Où se trouve le bureau martien ?")
    assert "Les documents ne le disent pas" in page.locator(".refusal").inner_text()
    assert page.locator(".badge").count() == 0


@mock_only
def test_model_alone_is_marked_unchecked(server, open_page):
    page = open_page(server.url + "/")
    page.select_option("#mode", "base")
    assert page.locator("#collection").is_disabled()
    ask(page, QUESTION["fr"])
    assert "n’a pas été vérifiée" in page.locator(".notice.warn").inner_text()


@mock_only
def test_busy_server_says_when_to_try_again(server, open_page):
    page = open_page(server.url + "/")
    page.watch.allowed.append("503")
    server.world.busy = True
    page.fill("#question", QUESTION["fr"])
    page.press("#question", "Enter")
    page.wait_for_selector("text=réessayez dans 7 s")
    server.world.busy = False
    page.click("text=Réessayer")
    page.wait_for_selector(".badge.supported")
    assert page.locator(".turn").count() == 1


@mock_only
def test_an_index_that_is_away_is_told_in_words_of_the_page(server, open_page):
    page = open_page(server.url + "/")
    page.watch.allowed.append("503")
    server.world.index_is_away = True
    page.fill("#question", QUESTION["fr"])
    page.press("#question", "Enter")
    page.wait_for_selector("text=Les documents sont injoignables pour le moment")
    server.world.index_is_away = False
    page.click("text=Réessayer")
    page.wait_for_selector(".badge.supported")


def test_conversation_goes_on_and_is_deleted(server, open_page):
    page = open_page(server.url + "/")
    ask(page, QUESTION["fr"])
    ask(page, "Et pour les apprentis ?")
    assert page.locator(".turn").count() == 2
    if not REAL:
        assert (
            "Combien de jours de télétravail pour les apprentis"
            in page.locator(".understood").inner_text()
        )
    page.wait_for_function("() => location.hash.startsWith('#/ask/c')")
    page.reload()
    page.wait_for_selector(".turn")
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 2")
    known = page.locator(".side .conversations li").count()
    page.locator(".side .conversations li:has([aria-current]) .icon-button").click()
    page.click("dialog .danger")
    page.wait_for_function(
        "n => document.querySelectorAll('.side .conversations li').length === n", arg=known - 1
    )
    page.wait_for_selector(".welcome h1")


@mock_only
def test_copy_and_export(server, open_page):
    page = open_page(server.url + "/", accept_downloads=True)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, QUESTION["fr"])
    with page.expect_download() as download:
        page.click("[aria-label='Exporter en Markdown']")
    assert download.value.suggested_filename == "combien-de-jours-de-teletravail-par-semaine.md"
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("# Combien de jours")
    assert "- ~ étayée en partie" in text and "[1] Charte du télétravail" in text
    page.click("[aria-label='Copier la réponse et ses sources']")
    page.wait_for_selector(".toast")
    assert page.evaluate("navigator.clipboard.readText()") == text


@mock_only
def test_empty_server_says_what_to_do(start, open_page):
    server = start(empty=True)
    page = open_page(server.url + "/")
    page.wait_for_selector("text=Rien n’est encore indexé")
    assert page.locator("#question").is_hidden()
    page.click("main >> text=Ajouter des documents")
    page.wait_for_selector("main[data-view=documents] .blank")


# Documents


def upload(page, name, text, collection):
    page.click("main button:has-text('Ajouter des documents')")
    page.set_input_files(
        "dialog input[type=file]",
        [{"name": name, "mimeType": "text/markdown", "buffer": text.encode()}],
    )
    page.locator("dialog input[list]").fill(collection)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .report")


def test_upload_and_delete(server, open_page):
    page = open_page(server.url + "/#/documents")
    upload(
        page,
        "essai-de-depot.md",
        "# Essai de dépôt\n\nLe dépôt ferme à 18 h le vendredi.\n",
        "essais",
    )
    assert "1 ajouté" in page.locator("dialog .report").inner_text()
    page.click("dialog .primary")
    page.fill("#document-search", "essai-de-depot")
    page.wait_for_selector(".documents tbody tr >> text=essai-de-depot.md")
    page.wait_for_function("() => document.querySelectorAll('.documents tbody tr').length === 1")
    row = page.locator(".documents tbody tr")
    assert "essais" in row.inner_text()
    row.locator(".link").click()
    page.click("#panel >> text=Afficher le texte")
    page.wait_for_selector("#panel .doc-text >> text=18 h le vendredi")
    page.keyboard.press("Escape")
    row.locator("[aria-label^='Supprimer']").click()
    page.keyboard.press("Escape")
    assert row.count() == 1
    row.locator("[aria-label^='Supprimer']").click()
    page.click("dialog .danger")
    page.wait_for_selector("text=Aucun document ne correspond")


@mock_only
def test_drop_files(server, open_page):
    page = open_page(server.url + "/#/documents")
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(['# Dépôt'], 'glisse.md', {type: 'text/markdown'}));
        const page = document.querySelector('.drop-page');
        page.dispatchEvent(new DragEvent('dragenter', {dataTransfer: data, bubbles: true}));
        page.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    }""")
    page.wait_for_selector("dialog .files >> text=glisse.md")


@mock_only
def test_documents_search_paging_and_what_was_skipped(server, open_page):
    page = open_page(server.url + "/#/documents")
    page.wait_for_selector(".documents tbody tr")
    assert page.locator(".documents tbody tr").count() == 50
    page.click("text=Suivants")
    page.wait_for_function("() => document.querySelectorAll('.documents tbody tr').length === 17")
    assert "51 à 67 sur 67" in page.locator(".pager").inner_text()
    page.fill("#document-search", "glossaire")
    page.wait_for_function("() => document.querySelectorAll('.documents tbody tr').length === 2")
    assert page.locator(".tag >> text=doublon").count() == 1
    page.fill("#document-search", "")
    page.select_option(".filters select", "rh")
    page.wait_for_function("() => document.querySelectorAll('.documents tbody tr').length === 4")
    page.click(".skipped summary")
    skipped = page.locator(".skipped").inner_text()
    assert "doit d’abord passer par un OCR" in skipped and "scans need" not in skipped


@mock_only
def test_script_in_a_title_is_text(server, open_page):
    page = open_page(server.url + "/")
    ask(page, "hostile ?")
    assert "<img src=x onerror=window.hacked=1>" in page.locator(".prose").inner_text()
    assert page.locator(".prose a").evaluate_all("all => all.map((it) => it.href)") == [
        "https://intranet.example/a"
    ]
    assert page.locator(".prose a").get_attribute("rel") == "noopener"
    page.locator(".cite").click()
    page.wait_for_selector("#panel .doc-text")
    assert "<b>not bold</b>" in page.locator("#panel .doc-text").inner_text()
    chunk = page.locator("#panel .passage-links a").first.get_attribute("href")
    page.keyboard.press("Escape")
    page.click("button:has-text('Why'), button:has-text('Pourquoi')")
    page.wait_for_selector("dialog .numbers")
    page.keyboard.press("Escape")
    go(page, "documents", ".documents")
    page.click(".documents >> text=<script>window.hacked=1</script>")
    page.wait_for_selector("#panel .notice.warn")
    page.goto(server.url + chunk)
    page.wait_for_selector("article h1")
    assert page.locator("h1").inner_text().startswith("<script>")
    assert page.evaluate("window.hacked") is None


# Jobs and health


@mock_only
def test_jobs_run_and_are_cancelled(start, open_page):
    server = start(slow=5)
    page = open_page(server.url + "/#/jobs")
    page.click("text=Relire les dossiers")
    page.wait_for_selector(".job progress[value]")
    page.click(".job >> text=Arrêter la tâche")
    page.click("dialog .danger")
    page.wait_for_selector(".job .tag >> text=annulée")
    assert page.locator(".job progress").count() == 0


def test_health(server, open_page):
    page = open_page(server.url + "/#/health", language="en-GB")
    page.wait_for_selector(".tiles")
    text = page.locator(".health").inner_text()
    for words in ("Models", "Index", "Queue", "Answer times", "documents"):
        assert words in text


# Languages, themes, screens, keyboard


def test_language_is_switched_and_remembered(server, open_page):
    page = open_page(server.url + "/", language="de-DE")
    assert page.get_attribute("html", "lang") == "en"
    page.click(".side-foot .language")
    page.wait_for_selector("text=Que voulez-vous savoir\u202f?")
    assert page.get_attribute("html", "lang") == "fr"
    page.reload()
    page.wait_for_selector("text=Que voulez-vous savoir\u202f?")


def lightness(page, selector="body"):
    colour = page.evaluate(
        "it => getComputedStyle(document.querySelector(it)).backgroundColor", selector
    )
    return sum(int(it) for it in re.findall(r"\d+", colour)[:3]) / 3


def test_dark_follows_the_system_and_the_reader(server, open_page):
    page = open_page(server.url + "/", dark=True)
    assert lightness(page) < 60
    page.click(".side-foot .theme")
    assert lightness(page) > 200
    page.reload()
    page.wait_for_selector("#question")
    assert lightness(page) > 200
    page.click(".side-foot .theme")
    assert lightness(page) < 60


CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (it) => {
        const [r, g, b] = it.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const bad = [];
    for (const element of document.querySelectorAll('body *')) {
        const has = [...element.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
        if (!has || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        if (element.closest('.sr, option, [disabled], dialog:not([open])')) continue;
        const style = getComputedStyle(element);
        let ground = element;
        while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
        const [a, b] = [rgba(style.color), rgba(getComputedStyle(ground ?? document.body).backgroundColor)]
            .map((it) => luminance(it.slice(0, 3))).sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (isLarge ? 3 : 4.5)) bad.push(`${element.className || element.tagName}: ${ratio.toFixed(2)} "${element.textContent.trim().slice(0, 30)}"`);
    }
    return [...new Set(bad)];
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(server, open_page, dark):
    page = open_page(server.url + "/", dark=dark)
    assert page.evaluate(CONTRAST) == []
    ask(page, QUESTION["fr"])
    page.locator(".cite").first.click()
    page.wait_for_selector("#panel .doc-text mark.evidence")
    page.click("[aria-label='Mauvaise réponse']")
    page.wait_for_selector(".feedback")
    assert page.evaluate(CONTRAST) == []
    for view, selector in (("documents", ".documents"), ("jobs", "h1"), ("health", ".tiles")):
        go(page, view, selector)
        page.wait_for_load_state("networkidle")
        assert page.evaluate(CONTRAST) == [], view


def test_narrow_screen(server, open_page):
    page = open_page(server.url + "/", width=360, height=720)
    assert overflow(page) <= 0
    ask(page, QUESTION["fr"])
    assert overflow(page) <= 0
    box = page.locator(".send").bounding_box()
    assert box["x"] + box["width"] <= 360
    page.locator(".cite").first.click()
    page.wait_for_selector("#panel .doc-text mark.evidence")
    sheet = page.locator("#panel").bounding_box()
    assert sheet["x"] == 0 and sheet["width"] == 360 and sheet["y"] > 60
    assert page.evaluate("document.getElementById('shell').inert")
    page.click("#scrim", position={"x": 180, "y": 20})
    assert page.locator("#panel").is_hidden()
    page.click("[aria-label='Conversations récentes']:visible")
    page.wait_for_selector("dialog .conversations li")
    page.keyboard.press("Escape")
    for name, view in (("Documents", "documents"), ("Tâches", "jobs"), ("État", "health")):
        page.click(f".tabbar >> text={name}")
        page.wait_for_selector(f"main[data-view={view}] h1")
        page.wait_for_load_state("networkidle")
        assert overflow(page) <= 0, view


def focused(page):
    return page.evaluate("""() => {
        const it = document.activeElement;
        return it === document.body ? '' : (it.getAttribute('aria-label') || it.textContent || it.id).trim();
    }""")


def tab_to(page, words, presses=60):
    for _ in range(presses):
        page.keyboard.press("Tab")
        if words in focused(page):
            return
    raise AssertionError(f"the keyboard does not reach {words}; it is at {focused(page)}")


def test_keyboard_alone(server, open_page):
    page = open_page(server.url + "/")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.type(QUESTION["fr"])
    page.keyboard.press("Enter")
    page.wait_for_selector(".actions")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("getSelection().removeAllRanges(); document.body.focus()")
    page.reload()
    page.wait_for_selector(".actions")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "Aller au contenu")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Source 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel .doc-text mark.passage")
    assert page.evaluate("document.activeElement.closest('#panel') !== null")
    page.keyboard.press("Escape")
    assert "Source 1" in focused(page)
    tab_to(page, "Vérification")
    assert page.locator(".tip").is_visible()
    tab_to(page, "Pourquoi")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog .numbers")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert "Pourquoi" in focused(page)


def test_names_and_landmarks(server, open_page):
    page = open_page(server.url + "/")
    ask(page, QUESTION["fr"])
    for view, selector in (
        ("ask", ".turn"),
        ("documents", ".documents"),
        ("jobs", "h1"),
        ("health", ".tiles"),
    ):
        go(page, view, selector)
        nameless = page.evaluate("""() => [...document.querySelectorAll('button, a, input, select, textarea')]
            .filter((it) => it.checkVisibility() && !it.closest('dialog:not([open])'))
            .filter((it) => !(it.getAttribute('aria-label') || it.textContent.trim() || it.labels?.length))
            .map((it) => it.outerHTML.slice(0, 120))""")
        assert nameless == []
        doubled = page.evaluate("""() => { const ids = [...document.querySelectorAll('[id]')].map((it) => it.id);
            return ids.filter((it, i) => ids.indexOf(it) !== i); }""")
        assert doubled == []
    assert page.locator("main").count() == 1
    assert page.locator("nav").count() >= 1
    assert page.get_attribute("#announcer", "aria-live") == "polite"


# Keys


@mock_only
def test_sign_in_with_a_key(start, open_page):
    server = start(key="sfl_test")
    page = open_page(server.url + "/")
    page.watch.allowed.append("401")
    page.fill("dialog input", "wrong")
    page.press("dialog input", "Enter")
    page.wait_for_selector("text=Cette clé n’est pas valable")
    page.fill("dialog input", "sfl_test")
    page.press("dialog input", "Enter")
    page.wait_for_selector(".collection-chips")
    ask(page, QUESTION["fr"])
    assert "sfl_test" not in page.evaluate(
        "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
    )
    page.reload()
    page.wait_for_selector(".turn")
    page.click(".side-foot [aria-label='Se déconnecter']")
    page.wait_for_selector("dialog input")


def open_as_reader(start, open_page):
    """The page of somebody whose key may only read."""
    server = start(key="sfl_read", scope="read")
    page = open_page(server.url + "/")
    page.watch.allowed.append("401")
    page.fill("dialog input", "sfl_read")
    page.press("dialog input", "Enter")
    page.wait_for_selector(".collection-chips")
    return page


@mock_only
def test_a_reader_is_offered_what_a_reader_may_do(start, open_page):
    page = open_as_reader(start, open_page)
    go(page, "documents", ".documents")
    page.wait_for_load_state("networkidle")
    assert page.locator("text=Ajouter des documents").count() == 0
    assert page.locator("[aria-label^='Supprimer «']:visible").count() == 0
    assert page.locator(".skipped").count() == 0
    go(page, "jobs", "h1")
    page.wait_for_load_state("networkidle")
    assert page.locator("text=Relire les dossiers").count() == 0


# Pages beside


@mock_only
def test_source_page(server, open_page):
    source = server.world.source(1, "rh/guide-du-salarie.pdf", "## Prévoyance", "125 % |")
    start = server.world.evidence(source, "La mutuelle est prise en charge à 65 %")["char_start"]
    page = open_page(f"{server.url}/v1/sources/{source['chunk']}#char={start}-{start + 38}")
    assert page.locator("h1").inner_text() == "Guide du salarié"
    assert (
        page.locator(".doc-text mark.evidence").inner_text()
        == "La mutuelle est prise en charge à 65 %"
    )
    cells = page.locator("table mark.passage").all_inner_texts()
    assert "350 €" in [it.strip() for it in cells]
    assert page.locator(".passage-links a").get_attribute("href").endswith("/original#page=2")
    assert "Entretien annuel" in page.locator(".doc-text").inner_text()


@mock_only
def test_source_that_is_gone(server, open_page):
    page = open_page(f"{server.url}/docs")
    page.watch.allowed.append("404")
    page.goto(f"{server.url}/v1/sources/none")
    page.wait_for_selector("text=Ce passage n’existe plus")


def test_api_page(server, open_page):
    page = open_page(f"{server.url}/docs")
    page.fill("input[type=search]", "post ask")
    page.click('.operation:visible summary >> text="/v1/ask"')
    body = page.locator(".operation[open]").inner_text()
    assert "question" in body and "curl" in body
    page.fill("input[type=search]", "no such address")
    page.wait_for_selector("text=Aucune adresse ne correspond")


def test_widget(server, open_page):
    page = open_page(f"{server.url}/docs")
    before = set(page.evaluate("Object.keys(window)"))
    page.goto(f"{server.url}/widget-demo.html")
    page.wait_for_selector("souffleur-widget .launch")
    assert set(page.evaluate("Object.keys(window)")) - before == set()
    page.click("button >> text=Poser une question")
    page.fill("souffleur-widget textarea", QUESTION["fr"])
    page.keyboard.press("Enter")
    page.wait_for_selector("souffleur-widget .mark.supported")
    box = page.locator("souffleur-widget .answer")
    assert re.search("trois|3", box.inner_text())
    assert "/v1/sources/" in page.locator("souffleur-widget li a").first.get_attribute("href")
    # The page's own styles for buttons stay outside.
    assert (
        page.locator("souffleur-widget .launch").evaluate(
            "it => getComputedStyle(it).textTransform"
        )
        == "none"
    )
    page.keyboard.press("Escape")
    assert page.locator("souffleur-widget .box").is_hidden()


@mock_only
def test_widget_with_a_key_from_another_site(start, open_page):
    """Another site, with a key of its own: the answer crosses origins."""
    server, site = start(key="sfl_read"), start()
    site.world.pages[
        "/elsewhere"
    ] = f"""<!doctype html><link rel="icon" href="data:,"><title>x</title><main><h1>Intranet</h1></main>
        <script src="{server.url}/widget.js" data-lang="en" data-key="sfl_read"></script>"""
    page = open_page(f"{site.url}/elsewhere")
    page.hosts.add(server.url.removeprefix("http://"))
    page.click("button >> text=Ask a question")
    page.fill("souffleur-widget textarea", QUESTION["en"])
    page.keyboard.press("Enter")
    page.wait_for_selector("souffleur-widget .mark.supported")


# The Markdown of answers


MARKDOWN = [
    ("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>"),
    ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
    ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("# a", "<h3>a</h3>"),
    ("> a\n> b", "<blockquote><p>a<br>b</p></blockquote>"),
    ("```\n<i>\n```", '<pre tabindex="0"><code>&lt;i&gt;</code></pre>'),
    ("```\nopen", '<pre tabindex="0"><code>open</code></pre>'),
    ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
    ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
    ("[a](data:text/html,x)", "<p>[a](data:text/html,x)</p>"),
    (
        "[a](https://b.example/c)",
        '<p><a href="https://b.example/c" target="_blank" rel="noopener">a</a></p>',
    ),
    (
        "https://b.example/c.",
        '<p><a href="https://b.example/c" target="_blank" rel="noopener">https://b.example/c</a>.</p>',
    ),
    (
        "[a](mailto:x@b.example)",
        '<p><a href="mailto:x@b.example" target="_blank" rel="noopener">a</a></p>',
    ),
    ("a [1] b [1, 2] c [9]", "<p>a <b>1</b> b <b>1</b><b>2</b> c [9]</p>"),
    ("2 * 3 * 4 et nom_de_fichier_long", "<p>2 * 3 * 4 et nom_de_fichier_long</p>"),
    (
        "| a | b |\n|---|---|\n| c \\| d | **e** |",
        '<div class="table-scroll" tabindex="0" role="group"><table><thead><tr><th>a</th><th>b</th></tr></thead>'
        "<tbody><tr><td>c | d</td><td><strong>e</strong></td></tr></tbody></table></div>",
    ),
    ("", ""),
]


def test_markdown(server, open_page):
    page = open_page(server.url + "/")
    for text, expected in MARKDOWN:
        made = page.evaluate(
            """async (text) => {
            const { markdown } = await import('/markdown.js');
            const cite = (n) => {
                if (n > 2) return null;
                const mark = document.createElement('b');
                mark.textContent = n;
                return mark;
            };
            const box = document.createElement('div');
            box.append(markdown(text, cite));
            return box.innerHTML;
        }""",
            text,
        )
        assert made == expected, text
