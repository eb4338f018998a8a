#!/usr/bin/env python3
"""Makes the binary files of `handbook/` from the text in `handbook-sources/`.

The Markdown, HTML and CSV files of the handbook are written by hand. The PDF, Word, PowerPoint,
Excel, e-mail and Windows-1252 files are made here, so that their text can be reviewed as text.
A source is named after what it becomes: `rh/conges.docx.md` gives `rh/conges.docx`.

    python3 -m venv /tmp/handbook
    /tmp/handbook/bin/pip install reportlab==5.1.0 pyphen python-docx==1.2.0 \
        python-pptx==1.0.2 openpyxl==3.1.5 pypdf==7.1.0
    /tmp/handbook/bin/python examples/make_handbook.py            # writes the files
    /tmp/handbook/bin/python examples/make_handbook.py --check    # fails if they would change

Two runs give the same bytes: dates come from the sources, and nothing is random.
"""

import argparse
import datetime
import email.message
import email.policy
import email.utils
import html
import pathlib
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field

import docx
import openpyxl
import pptx
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Cm as DocxCm
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from pptx.util import Cm as PptxCm
from pptx.util import Pt
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Frame,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "handbook-sources"
HANDBOOK = HERE / "handbook"
ZIP_DATE = (2026, 1, 1, 0, 0, 0)
INLINE = re.compile(r"(\*\*.+?\*\*|\*.+?\*|`.+?`|\[\^\d+\])")
TABLE_RULE = re.compile(r"^\|[\s:|-]+\|$")


@dataclass
class Block:
    """One block of a source: `kind` is heading, paragraph, bullets, steps, table, break, notes."""

    kind: str
    text: str = ""
    level: int = 0
    items: list = field(default_factory=list)


@dataclass
class Source:
    """A source file, read: its header, its blocks, its footnotes and its body as written."""

    meta: dict
    blocks: list
    footnotes: dict
    body: str

    @property
    def date(self):
        return datetime.datetime.fromisoformat(self.meta["date"])


def read_source(path):
    """Reads the small part of Markdown that the sources use."""
    _, header, body = path.read_text(encoding="utf-8").split("---\n", 2)
    pairs = (line.split(":", 1) for line in header.splitlines())
    meta = {key.strip(): value.strip().strip('"') for key, value in pairs}
    blocks, footnotes = [], {}
    for chunk in re.split(r"\n\s*\n", body.strip("\n")):
        lines = chunk.split("\n")
        first = lines[0]
        if match := re.match(r"\[\^(\d+)\]:\s*(.*)", chunk, re.S):
            footnotes[match[1]] = match[2].strip()
        elif match := re.match(r"(#+) (.*)", first):
            blocks.append(Block("heading", match[2], len(match[1])))
        elif first.startswith("|"):
            rows = [line for line in lines if not TABLE_RULE.match(line)]
            cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
            blocks.append(Block("table", items=cells))
        elif first.startswith("- "):
            blocks.append(Block("bullets", items=[line[2:] for line in lines]))
        elif re.match(r"1\. ", first) and len(lines) > 1:
            blocks.append(Block("steps", items=[line.split(". ", 1)[1] for line in lines]))
        elif first == "\\newpage":
            blocks.append(Block("break"))
        elif first.startswith("Notes: "):
            blocks.append(Block("notes", chunk.removeprefix("Notes: ")))
        else:
            blocks.append(Block("paragraph", " ".join(lines)))
    return Source(meta, blocks, footnotes, body.strip("\n") + "\n")


def inline(text):
    """Splits a text into (style, text) pairs; style is plain, bold, italic, code or note."""
    for piece in INLINE.split(text):
        if piece.startswith("**"):
            yield "bold", piece[2:-2]
        elif piece.startswith("*"):
            yield "italic", piece[1:-1]
        elif piece.startswith("`"):
            yield "code", piece[1:-1]
        elif piece.startswith("[^"):
            yield "note", piece[2:-1]
        elif piece:
            yield "plain", piece


def plain(text):
    return "".join(piece for style, piece in inline(text) if style != "note")


def freeze_zip(path, date):
    """Rewrites an Office file with fixed dates, so that equal contents give equal bytes."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    stamp = date.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            if name == "docProps/core.xml":
                dates = rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*"
                data = re.sub(dates, rb"\g<1>" + stamp, data)
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)


# PDF


class HandbookPdf(BaseDocTemplate):
    """A4 pages with a running header, a footer and a page number; headings form the outline."""

    def __init__(self, path, source):
        meta = source.meta
        super().__init__(
            str(path), pagesize=A4, invariant=1, lang=meta["language"], title=meta["title"],
            author=meta["author"], leftMargin=3 * cm, rightMargin=3 * cm, topMargin=3 * cm,
            bottomMargin=2.8 * cm,
        )
        self.source = source
        frame = Frame(self.leftMargin, self.bottomMargin, self.width, self.height, id="text")
        templates = [PageTemplate("running", [frame], onPage=self.draw_running)]
        if meta["layout"] == "book":
            templates.insert(0, PageTemplate("cover", [frame]))
        self.addPageTemplates(templates)

    def draw_running(self, canvas, _doc):
        meta = self.source.meta
        canvas.saveState()
        canvas.setFont("Helvetica", 8.5)
        canvas.drawString(3 * cm, A4[1] - 1.7 * cm, pdf_text(meta["header"]))
        canvas.line(3 * cm, A4[1] - 1.9 * cm, A4[0] - 3 * cm, A4[1] - 1.9 * cm)
        canvas.drawString(3 * cm, 1.5 * cm, pdf_text(meta["footer"]))
        number = f"{meta['page_word']} {canvas.getPageNumber()}"
        canvas.drawRightString(A4[0] - 3 * cm, 1.5 * cm, number)
        canvas.restoreState()

    def afterFlowable(self, flowable):
        if (level := getattr(flowable, "outline_level", None)) is None:
            return
        text = flowable.getPlainText()
        self.canv.bookmarkPage(flowable.outline_key)
        self.canv.addOutlineEntry(text, flowable.outline_key, level, closed=level > 0)
        if level == 0:
            self.notify("TOCEntry", (level, text, self.page, flowable.outline_key))


def pdf_text(text):
    """Maps what the standard PDF fonts lack: narrow spaces and the minus sign."""
    return text.replace("\u202f", "\u00a0").replace("\u2212", "-")


def pdf_markup(text):
    tags = {"bold": "b", "italic": "i", "code": "font face='Courier'"}
    res = ""
    for style, piece in inline(pdf_text(text)):
        tag = tags.get(style)
        piece = html.escape(piece, quote=False)
        res += f"<{tag}>{piece}</{tag.split()[0]}>" if tag else piece
    return res


def pdf_styles(language):
    """Justified text whose long words are cut at the end of lines, as in printed manuals."""
    body = ParagraphStyle(
        "body", fontName="Times-Roman", fontSize=12, leading=17, alignment=4, spaceAfter=8,
        hyphenationLang={"fr": "fr_FR", "en": "en_GB"}[language], hyphenationMinWordLength=6,
    )
    cell = ParagraphStyle("cell", fontName="Helvetica", fontSize=9, leading=11.5)
    heads = {
        1: ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=19, leading=24, spaceAfter=12),
        2: ParagraphStyle(
            "h2", fontName="Helvetica-Bold", fontSize=13, leading=17, spaceBefore=8, spaceAfter=6
        ),
    }
    return body, cell, heads


def pdf_table(rows, cell, width):
    head = ParagraphStyle("head", parent=cell, fontName="Helvetica-Bold")
    cells = [
        [Paragraph(pdf_markup(text), head if i == 0 else cell) for text in row]
        for i, row in enumerate(rows)
    ]
    # The first column gets more room, because it names the row.
    share = width / (len(rows[0]) + 0.6)
    widths = [share * 1.6] + [share] * (len(rows[0]) - 1)
    table = Table(cells, colWidths=widths, repeatRows=1, spaceBefore=4, spaceAfter=12)
    table.setStyle(TableStyle([
        ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
        ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ]))
    return table


def pdf_story(source, width):
    body, cell, heads = pdf_styles(source.meta["language"])
    story = []
    for number, block in enumerate(source.blocks):
        match block.kind:
            case "heading":
                story.append(CondPageBreak((9 if block.level == 1 else 4) * cm))
                title = Paragraph(pdf_markup(block.text), heads[block.level])
                title.outline_level = block.level - 1
                title.outline_key = f"heading-{number}"
                story.append(title)
            case "paragraph":
                story.append(Paragraph(pdf_markup(block.text), body))
            case "bullets" | "steps":
                items = [ListItem(Paragraph(pdf_markup(item), body)) for item in block.items]
                kind = "bullet" if block.kind == "bullets" else "1"
                story.append(ListFlowable(items, bulletType=kind, bulletFormat="%s."))
            case "table":
                story.append(pdf_table(block.items, cell, width))
            case "break":
                story.append(PageBreak())
    return story


def pdf_cover(source):
    """A title page and a table of contents."""
    meta = source.meta
    words = {"fr": "Sommaire", "en": "Contents"}
    title = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=30, leading=38)
    line = ParagraphStyle("line", fontName="Helvetica", fontSize=14, leading=22)
    contents = TableOfContents(dotsMinLevel=0)
    contents.levelStyles = [
        ParagraphStyle("contents", fontName="Helvetica", fontSize=11, leading=18),
    ]
    return [
        Spacer(1, 7 * cm), Paragraph(pdf_markup(meta["title"]), title), Spacer(1, cm),
        Paragraph(pdf_markup(meta["subtitle"]), line), Paragraph(meta["author"], line),
        NextPageTemplate("running"), PageBreak(),
        Paragraph(words[meta["language"]], ParagraphStyle("t", parent=title, fontSize=19)),
        contents, PageBreak(),
    ]


def write_pdf(source, path):
    pdf = HandbookPdf(path, source)
    story = pdf_story(source, pdf.width - 12)
    if source.meta["layout"] == "book":
        pdf.multiBuild(pdf_cover(source) + story)
    else:
        pdf.build(story)


# Word


def docx_runs(paragraph, text):
    for style, piece in inline(text):
        run = paragraph.add_run("" if style == "note" else piece)
        run.bold = style == "bold" or None
        run.italic = style == "italic" or None
        if style == "note":
            reference = OxmlElement("w:footnoteReference")
            reference.set(qn("w:id"), piece)
            run.font.superscript = True
            run._r.append(reference)


def docx_footnotes(document, footnotes):
    """Adds the footnotes part, which python-docx does not write itself."""
    separators = "".join(
        f'<w:footnote w:type="{kind}" w:id="{number}"><w:p><w:r><w:{tag}/></w:r></w:p></w:footnote>'
        for number, (kind, tag) in enumerate([
            ("separator", "separator"), ("continuationSeparator", "continuationSeparator"),
        ], start=-1)
    )
    notes = "".join(
        f'<w:footnote w:id="{number}"><w:p><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
        f'<w:footnoteRef/></w:r><w:r><w:t xml:space="preserve"> {html.escape(text)}</w:t></w:r>'
        "</w:p></w:footnote>"
        for number, text in footnotes.items()
    )
    xml = f"<w:footnotes {nsdecls('w')}>{separators}{notes}</w:footnotes>"
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    name = PackURI("/word/footnotes.xml")
    part = Part(name, kind, xml.encode("utf-8"), document.part.package)
    document.part.relate_to(part, RT.FOOTNOTES)


def docx_restart(document, paragraphs):
    """Gives a numbered list its own numbering, starting from 1."""
    numbering = document.part.numbering_part.element
    style = document.styles["List Number"].element
    base = style.pPr.numPr.numId.val
    abstract = numbering.num_having_numId(base).abstractNumId.val
    num = numbering.add_num(abstract)
    num.add_lvlOverride(ilvl=0).add_startOverride(1)
    for paragraph in paragraphs:
        numbers = paragraph._p.get_or_add_pPr().get_or_add_numPr()
        numbers.get_or_add_numId().val = num.numId
        numbers.get_or_add_ilvl().val = 0


def docx_table(document, rows):
    table = document.add_table(rows=0, cols=len(rows[0]), style="Table Grid")
    for i, row in enumerate(rows):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            docx_runs(cell.paragraphs[0], text)
            if i == 0:
                cell.paragraphs[0].runs[0].bold = True
    # Marks the header row, so that Word repeats it on each page.
    table.rows[0]._tr.get_or_add_trPr().append(parse_xml(f"<w:tblHeader {nsdecls('w')}/>"))
    document.add_paragraph()


def write_docx(source, path):
    meta = source.meta
    document = docx.Document()
    core = document.core_properties
    core.title, core.author, core.language = meta["title"], meta["author"], meta["language"]
    core.created = core.modified = source.date
    document.sections[0].left_margin = document.sections[0].right_margin = DocxCm(2.5)
    document.sections[0].header.paragraphs[0].text = "Ormelune"
    document.sections[0].footer.paragraphs[0].text = meta["title"]
    for block in source.blocks:
        match block.kind:
            case "heading":
                docx_runs(document.add_heading("", block.level), block.text)
            case "paragraph":
                docx_runs(document.add_paragraph(), block.text)
            case "table":
                docx_table(document, block.items)
            case "bullets":
                for item in block.items:
                    docx_runs(document.add_paragraph(style="List Bullet"), item)
            case "steps":
                steps = [document.add_paragraph(style="List Number") for _ in block.items]
                docx_restart(document, steps)
                for paragraph, item in zip(steps, block.items, strict=True):
                    docx_runs(paragraph, item)
    if source.footnotes:
        docx_footnotes(document, source.footnotes)
    document.save(path)
    freeze_zip(path, source.date)


# PowerPoint


def pptx_body(slide, block):
    shape = slide.placeholders[1]
    if block.kind == "table":
        box = (shape.left, shape.top, shape.width, PptxCm(1.2 * len(block.items)))
        shape._element.getparent().remove(shape._element)
        table = slide.shapes.add_table(len(block.items), len(block.items[0]), *box).table
        for i, row in enumerate(block.items):
            for j, text in enumerate(row):
                table.cell(i, j).text = plain(text)
                table.cell(i, j).text_frame.paragraphs[0].font.size = Pt(16)
        return
    for i, item in enumerate(block.items or [block.text]):
        frame = shape.text_frame
        paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
        paragraph.text = plain(item)
        paragraph.font.size = Pt(22)


def write_pptx(source, path):
    meta = source.meta
    deck = pptx.Presentation()
    core = deck.core_properties
    core.title, core.author, core.language = meta["title"], meta["author"], meta["language"]
    core.created = core.modified = source.date
    core.last_modified_by = meta["author"]
    slide = None
    for block in source.blocks:
        if block.kind == "heading":
            slide = deck.slides.add_slide(deck.slide_layouts[0 if block.level == 1 else 1])
            slide.shapes.title.text = block.text
            if block.level == 1:
                slide.placeholders[1].text = meta["subtitle"]
        elif block.kind == "notes":
            slide.notes_slide.notes_text_frame.text = block.text
        else:
            pptx_body(slide, block)
    deck.save(path)
    freeze_zip(path, source.date)


# Excel


def excel_value(text):
    """A number, a share or a date where the text is one, with its number format; else the text."""
    if re.fullmatch(r"\d+", text):
        return int(text), "#,##0"
    if match := re.fullmatch(r"(\d+)(?:,(\d+))?\s%", text):
        return float(f"{match[1]}.{match[2] or 0}") / 100, "0.00%"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return datetime.date.fromisoformat(text), "dd/mm/yyyy"
    return text or None, "General"


def write_xlsx(source, path):
    meta = source.meta
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.title, book.properties.creator = meta["title"], meta["author"]
    book.properties.created = source.date
    sheet = None
    for block in source.blocks:
        if block.kind == "heading":
            sheet = book.create_sheet(block.text)
            continue
        for i, row in enumerate(block.items, start=1):
            for j, text in enumerate(row, start=1):
                cell = sheet.cell(i, j)
                cell.value, cell.number_format = excel_value(text)
                cell.font = Font(bold=i == 1)
        for j in range(1, len(block.items[0]) + 1):
            longest = max(len(row[j - 1]) for row in block.items)
            sheet.column_dimensions[get_column_letter(j)].width = longest + 3
        sheet.freeze_panes = "A2"
    book.save(path)
    freeze_zip(path, source.date)


# E-mail and text


def write_eml(source, path):
    """A message with a plain and an HTML version, as mail programs send it."""
    meta = source.meta
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    for key in ("from", "to", "cc", "subject"):
        if key in meta:
            message[key.title()] = meta[key]
    message["Date"] = email.utils.format_datetime(source.date)
    message["Message-ID"] = f"<{meta['id']}>"
    message["Content-Language"] = meta["language"]
    message.set_content(source.body, cte="quoted-printable")
    paragraphs = "".join(
        "<p>" + html.escape(text, quote=False).replace("\n", "<br>") + "</p>\n"
        for text in source.body.strip().split("\n\n")
    )
    page = f"<html><body>\n{paragraphs}</body></html>\n"
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{meta['id'].split('@')[0]}")
    path.write_bytes(message.as_bytes())


def write_windows_1252(text, path):
    """Windows line ends and encoding, as Notepad wrote them for thirty years."""
    path.write_bytes(text.replace("\u202f", "\u00a0").replace("\n", "\r\n").encode("cp1252"))


WRITERS = {
    ".pdf": write_pdf, ".docx": write_docx, ".pptx": write_pptx, ".xlsx": write_xlsx,
    ".eml": write_eml,
}


def make(target):
    """Writes every file under `target`; returns their paths relative to it."""
    written = []
    for source in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        relative = source.relative_to(SOURCES)
        is_text = relative.suffix == ".txt"
        relative = relative if is_text else relative.with_suffix("")
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_text:
            write_windows_1252(source.read_text(encoding="utf-8"), path)
        else:
            WRITERS[relative.suffix](read_source(source), path)
        written.append(relative)
    return written


def changed_files():
    """The files that a new run would change."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = pathlib.Path(folder)
        written = make(fresh)
        return [
            path for path in written
            if not (HANDBOOK / path).is_file()
            or (HANDBOOK / path).read_bytes() != (fresh / path).read_bytes()
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if a file would change")
    if parser.parse_args().check:
        changed = changed_files()
        for path in changed:
            print(f"differs from its source: {path}", file=sys.stderr)
        sys.exit(1 if changed else 0)
    for path in make(HANDBOOK):
        print(path)


if __name__ == "__main__":
    main()
