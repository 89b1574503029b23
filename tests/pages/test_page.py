"""The look that all pages share: texts escaped and on one line, contrast, width in a browser."""

import html as markup
import io
import json
import re
import shutil
import subprocess
from importlib.resources import files

import pytest
from PIL import Image

from p5mm.pages.page import called, render_page, spoken
from p5mm.pages.stories import Shopper

EVIL = "<img src=x onerror=alert(1)>\"'&\r\n\u202eevil\x1b[2J\u2028end"
SHOWN = "<img src=x onerror=alert(1)>\"'& \ufffdevil\ufffd[2J end"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AA = 4.5
TEMPLATES = {path.name for path in files("p5mm.pages").joinpath("templates").iterdir()}


def png(colour="red", size=(300, 200)):
    coded = io.BytesIO()
    Image.new("RGB", size, colour).save(coded, "PNG")
    return coded.getvalue()


def page(titles, pictures, items, **changes):
    values = {"title": "T", "credits": ["c"]} | changes
    return render_page("page.html.j2", shown=items, titles=titles, pictures=pictures, **values)


def test_a_picture_is_in_the_page_once_and_opens_large(page_of):
    html = page({"a": EVIL}, {"a": png(), "b": b"broken"}, ["a", "b", "a"])
    parsed = page_of(html)
    assert parsed.find("image", "href") == [
        uri for uri in parsed.find("image", "href") if uri.startswith("data:image/webp;base64,")
    ]
    assert len(parsed.find("image", "href")) == 1
    assert parsed.find("div", "id") == ["v0"]
    assert parsed.find("use", "href") == ["#p0"]
    assert SHOWN in parsed.text


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_no_template_prints_without_escaping(template):
    source = files("p5mm.pages").joinpath("templates", template).read_text("utf-8")
    for loophole in ("|safe", "| safe", "autoescape", "Markup", "xmlattr"):
        assert loophole not in source
    # Every value inside a tag stands in quotes, or it could add attributes.
    assert not re.findall(r"<[a-z][^<>{}]*=\{\{", source)


def test_headline_and_credits_are_escaped(page_of):
    html = page({}, {}, [], title=EVIL, credits=[EVIL])
    parsed = page_of(html)
    assert parsed.text == f"{SHOWN} {SHOWN}"
    assert not [tag for tag, _, _ in parsed.attributes if tag == "img"]


def test_metrics_and_models_are_called_as_papers_do():
    names = ["recall@10", "hit@1", "ndcg@5", "mrr", "rmse", "mae"]
    assert [spoken(name) for name in names] == ["Recall@10", "HR@1", "NDCG@5", "MRR", "RMSE", "MAE"]
    assert called("p5mm, held-out") == "p5mm, unseen prompt"
    assert called("what nobody knows") == "what nobody knows"


def stylesheet():
    source = files("p5mm.pages").joinpath("templates", "page.html.j2").read_text("utf-8")
    return source[source.index("<style>") : source.index("</style>")]


def colours(scheme):
    """The variables of the light scheme, overridden by those of the dark one."""
    blocks = re.findall(r":root \{ ([^}]*--paper[^}]*) \}", stylesheet())
    assert len(blocks) == 3  # light, dark, print
    values = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        values |= dict(re.findall(r"--([\w-]+): (#\w+);", block))
    return values


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    digits = colour[1:]
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one_colour, other):
    low, high = sorted(map(luminance, (one_colour, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#1f9d55", "#fff") == pytest.approx(3.5, abs=0.05)  # the badge as it was


TEXTS = [
    ("ink", "paper"), ("ink", "card"), ("ink", "note"), ("faint", "paper"), ("faint", "card"),
    ("hit", "card"), ("on-hit", "hit"), ("on-worse", "worse"),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_every_text_has_the_contrast_that_aa_asks(scheme, text, ground):
    values = colours(scheme)
    assert contrast(values[text], values[ground]) >= AA


def test_badges_and_fixed_colours_use_what_was_measured():
    style = stylesheet()
    for kind in ("hit", "worse"):
        (rule,) = re.findall(rf"\.badge\.{kind} \{{([^}}]*)\}}", style)
        assert f"background: var(--{kind})" in rule
        assert re.search(rf"(?<!-)color: var\(--on-{kind}\)", rule)
    for rule in (r"\.words", r"\.view"):
        (colour,) = set(re.findall(rf"{rule} \{{[^}}]*(?<!-)color: (#\w+)", style))
        assert contrast(colour, "#fff") >= AA  # on tiles, which are white in both schemes
    for scheme in ("light", "dark"):
        assert colours(scheme)["tile"] == "#fff"


LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen-" * 3


def whole_page(toy, name):
    """A page of each kind, of long names, many tiles and wide tables."""
    items = [f"i{number}" for number in range(20)]
    titles = {item: f"{LONG} {item}" for item in items[10:]} | {items[0]: EVIL}
    pictures = dict.fromkeys(items[:10], png())
    if name == "evaluation":
        from p5mm.evaluation.model_report import evaluate_model
        from p5mm.evaluation.page import evaluation_page

        return evaluation_page(evaluate_model(toy, "test", None, ["item-knn", "popularity"]), toy)
    from p5mm.demo.report import ReportData, render
    from p5mm.pages.stories import NewItem, Search

    shoppers = [Shopper(LONG, items, items[:6], items[3]), Shopper("b", items[:2], items, "z")]
    mean = {"value": 0.2, "low": 0.1, "high": 0.3}
    models = {LONG: {"ndcg@10": mean, "recall@10": mean, "recall@5": mean, "recall@20": mean}}
    return render(
        ReportData(
            LONG,
            LONG,
            simulated=LONG,
            facts=[(LONG, LONG)],
            shoppers=shoppers,
            searches=[Search("text", LONG, items), Search("item", items[0], items)],
            models=models,
            training_log=[{"epoch": n, "loss": 1 / n, "ndcg@10": 0.1 * n} for n in (1, 2, 3)],
            new_items=[NewItem(items[0], items, shoppers), NewItem(items[12], items, shoppers)],
            new_items_note=LONG,
            quarantine=[(LONG, LONG)] * 9,
            timings=[(LONG, 3.0), ("b", 900.0)],
            titles=titles,
            pictures=pictures,
            credits=[LONG],
        )
    )


SCRIPT = """
addEventListener('load', () => {
  const open = document.querySelector('button.tile');
  if (open) open.click();
  const shown = document.querySelector('.view:popover-open');
  const wide = [...document.querySelectorAll('body *')].filter(e =>
    !e.closest('.scroll, .store, .view, .who .tiles *') &&
    e.getBoundingClientRect().right > innerWidth + 1);
  parent.postMessage({
    inner: innerWidth, width: document.documentElement.scrollWidth,
    wide: wide.map(e => e.tagName + '.' + e.getAttribute('class')),
    large: shown ? shown.querySelector('svg').getBoundingClientRect().width : 0,
    tile: open ? open.getBoundingClientRect().width : 0,
    broken: [...document.querySelectorAll('.badge')].filter(e =>
      e.getBoundingClientRect().height > 22 * e.textContent.trim().split(' ').length + 6).length,
    tables: [...document.querySelectorAll('table')].map(t => {
      const box = t.closest('.scroll'); box.focus();
      return document.activeElement === box && box.getAttribute('aria-label') !== null;
    }),
  }, '*');
});
"""


def in_browser(html, width, folder):
    """What a real browser measures of a page in a window of some width."""
    inner = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    inner = inner.replace("</body>", f"<script>{SCRIPT}</script></body>")
    outer = (
        f'<iframe style="width:{width}px;height:800px;border:0" '
        f'srcdoc="{markup.escape(inner, quote=True)}"></iframe><pre id="r"></pre><script>'
        "addEventListener('message', e => "
        "document.getElementById('r').textContent = JSON.stringify(e.data))</script>"
    )
    path = folder / "page.html"
    path.write_text(outer, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--virtual-time-budget=5000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    (measured,) = re.findall(r'<pre id="r">(\{.*?\})</pre>', done.stdout)
    return json.loads(markup.unescape(measured))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("name", ["report", "evaluation"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_their_window_in_a_browser(toy, name, width, tmp_path):
    measured = in_browser(whole_page(toy, name), width, tmp_path)
    assert measured["inner"] == width
    assert measured["width"] <= width, measured["wide"]
    assert measured["wide"] == []
    assert measured["broken"] == 0  # no word of a badge is cut
    assert measured["tables"]
    assert all(measured["tables"])  # each can be reached by keyboard, and has a name
    if name == "report":
        assert measured["large"] >= 4 * measured["tile"] > 0
