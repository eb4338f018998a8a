#!/usr/bin/env python3
"""Checks that `questions.jsonl` agrees with the documents of `handbook/`.

Every accepted answer must occur in the text of its document, on the page that the question
states; every answer that was right before, in the older version of that document. The text is read
back from the files themselves, not from what they were made of.
Needs the packages that `make_handbook.py` names:

    /tmp/handbook/bin/python examples/check_questions.py
"""

import collections
import csv
import datetime
import email
import email.policy
import html
import json
import pathlib
import re
import sys
import unicodedata

import docx
import openpyxl
import pptx
import pypdf
from docx.oxml.ns import qn

HERE = pathlib.Path(__file__).resolve().parent
HANDBOOK = HERE / "handbook"
KEYS = ["question", "language", "answers", "document", "page", "type"]
# What was right before, where a question has it.
OUTDATED = "outdated"
OLDER = {
    "rh/teletravail-2026.md": "rh/teletravail-2023.md",
    "finance/politique-frais-2026.docx": "finance/politique-frais-2023.docx",
}
TYPES = {
    "fact", "table", "list", "procedure", "stale", "code", "cross-language", "unanswerable",
}
ANSWERABLE_MIN, UNANSWERABLE_MIN = 75, 14


def folded(text):
    """Text as it is compared: one kind of space and of apostrophe, no case."""
    text = unicodedata.normalize("NFC", text).replace("’", "'").replace("\u2212", "-")
    return " ".join(text.split()).casefold()


def pdf_pages(path):
    for page in pypdf.PdfReader(path).pages:
        # A word cut at the end of a line continues in lower case on the next one.
        yield re.sub(r"(?<=\w)-\n(?=[a-zà-ÿ])", "", page.extract_text())


def docx_text(path):
    document = docx.Document(path)
    text = "\n".join(
        "".join(run.text or "" for run in paragraph.iter(qn("w:t")))
        for paragraph in document.element.body.iter(qn("w:p"))
    )
    notes = [
        rel.target_part.blob.decode("utf-8")
        for rel in document.part.rels.values() if rel.reltype.endswith("/footnotes")
    ]
    return text + html.unescape(re.sub(r"<[^>]+>", "", "\n".join(notes)))


def pptx_slides(path):
    for slide in pptx.Presentation(path).slides:
        lines = [slide.notes_slide.notes_text_frame.text] if slide.has_notes_slide else []
        for shape in slide.shapes:
            if shape.has_text_frame:
                lines.append(shape.text_frame.text)
            if shape.has_table:
                lines += [cell.text for row in shape.table.rows for cell in row.cells]
        yield "\n".join(lines)


def xlsx_cell(value):
    """The ways in which a cell may be written out."""
    if isinstance(value, int):
        return f"{value} {value:,}".replace(",", " ")
    if isinstance(value, float):
        share = f"{value * 100:.2f} %"
        return f"{value} {share} {share.replace('.', ',')}"
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d} {value:%d/%m/%Y}"
    return value or ""


def xlsx_text(path):
    book = openpyxl.load_workbook(path)
    return "\n".join(
        xlsx_cell(cell) for sheet in book for row in sheet.values for cell in row
    )


def eml_text(path):
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    return message["subject"] + "\n" + message.get_body(("plain",)).get_content()


def html_text(path):
    outside = r"<(style|script|nav).*?</\1>|<!--.*?-->"
    page = re.sub(outside, "", path.read_text("utf-8"), flags=re.S)
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def csv_text(path):
    first = path.read_text("utf-8").split("\n", 1)[0]
    separator = ";" if ";" in first else ","
    with path.open(encoding="utf-8", newline="") as file:
        return "\n".join(" | ".join(row) for row in csv.reader(file, delimiter=separator))


def pages_of(path):
    """The text of a document as a list of pages; one page where the format has none."""
    match path.suffix:
        case ".pdf":
            return list(pdf_pages(path))
        case ".pptx":
            return list(pptx_slides(path))
        case ".docx":
            return [docx_text(path)]
        case ".xlsx":
            return [xlsx_text(path)]
        case ".eml":
            return [eml_text(path)]
        case ".html":
            return [html_text(path)]
        case ".csv":
            return [csv_text(path)]
        case ".txt":
            return [path.read_text("cp1252")]
        case _:
            return [path.read_text("utf-8")]


def faults_of(question, pages):
    """What is wrong with one question, in words."""
    if [key for key in question if key != OUTDATED] != KEYS:
        yield f"its keys are {list(question)}"
        return
    if question["language"] not in ("fr", "en"):
        yield f"unknown language {question['language']}"
    if question["type"] not in TYPES:
        yield f"unknown type {question['type']}"
    unanswerable = question["type"] == "unanswerable"
    if unanswerable != (not question["answers"]) or unanswerable != (question["document"] is None):
        yield "answers, document and type disagree on whether it can be answered"
    if question["document"] is None:
        return
    has_pages = question["document"].endswith((".pdf", ".pptx"))
    if has_pages != (question["page"] is not None):
        yield "a page is stated for PDF files and presentations, and for nothing else"
    text = pages[question["page"] - 1] if question["page"] else "\n".join(pages)
    for answer in question["answers"]:
        if not holds(text, answer):
            yield f"`{answer}` is not in {question['document']}, page {question['page']}"
    older = OLDER.get(question["document"])
    if OUTDATED in question and older is None:
        yield "its document has no older version"
        return
    for answer in question.get(OUTDATED, []):
        if not holds("\n".join(pages_of(HANDBOOK / older)), answer):
            yield f"`{answer}` is not in {older}"


def holds(text, answer):
    """Whether a text has an answer that stands alone: `8` is not found in `18`."""
    return re.search(rf"(?<!\w){re.escape(folded(answer))}(?!\w)", folded(text))


def main():
    lines = (HERE / "questions.jsonl").read_text("utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    documents = {question["document"] for question in questions} - {None}
    texts = {document: pages_of(HANDBOOK / document) for document in documents}
    faults = [
        f"{number}: {question['question']}: {fault}"
        for number, question in enumerate(questions, start=1)
        for fault in faults_of(question, texts.get(question["document"]))
    ]
    asked = collections.Counter(question["question"] for question in questions)
    faults += [f"asked twice: {text}" for text, count in asked.items() if count > 1]
    n_unanswerable = sum(not question["answers"] for question in questions)
    if len(questions) - n_unanswerable < ANSWERABLE_MIN or n_unanswerable < UNANSWERABLE_MIN:
        faults.append("too few questions")
    for fault in faults:
        print(fault, file=sys.stderr)
    for key in ("language", "type"):
        print(key, dict(collections.Counter(question[key] for question in questions)))
    print(
        f"{len(questions)} questions, {n_unanswerable} of them unanswerable, over "
        f"{len(documents)} documents: {len(faults)} faults"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
