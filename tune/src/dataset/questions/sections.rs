//! Questions about what stands under a heading, or behind the label of an item.

use ingest::document::Language;

use super::{
    Asked, Qa,
    nouns::begins_with_infinitive,
    phrases::{ended, fill, lower_first, pick, plain, quoted},
};
use crate::dataset::{
    corpus::{Block, Section, is_page_mark},
    row::MadeBy,
};

/// Sentences of an answer at most.
const SENTENCES_MAX: usize = 4;
/// Items of a list at most.
const ITEMS_MAX: usize = 7;
/// Characters of an answer.
const ANSWER_CHARS: std::ops::RangeInclusive<usize> = 20..=600;
/// Characters of a heading or a label at most.
const LABEL_CHARS_MAX: usize = 70;

const FRENCH: [&str; 5] = [
    "Que dit {title} au sujet de {heading} ?",
    "{heading} : quelles sont les règles d’après {title} ?",
    "Que prévoit {title} au sujet de {heading} ?",
    "Que faut-il savoir sur la partie {heading} de {title} ?",
    "Dans {title}, que trouve-t-on sous {heading} ?",
];
const ENGLISH: [&str; 4] = [
    "What does {title} say about {heading}?",
    "What are the rules on {heading} in {title}?",
    "According to {title}, what should I know about {heading}?",
    "{title}: what about {heading}?",
];

pub(super) fn of(document: &Asked<'_>, section: &Section<'_>) -> Vec<Qa> {
    let mut res: Vec<Qa> = whole(document, section).into_iter().collect();
    for block in &section.blocks {
        if let Block::List { items, ordered: true, .. } = block {
            res.extend(items.iter().filter_map(|(span, text)| labelled(document, span, text)));
        }
    }
    res
}

/// What stands under a heading, all of it, where it is short.
fn whole(document: &Asked<'_>, section: &Section<'_>) -> Option<Qa> {
    let heading = plain(section.heading()?);
    let is_title = section.path.len() == 1 && heading == document.source.title;
    if is_title || heading.chars().count() > LABEL_CHARS_MAX {
        return None;
    }
    // What stands at the foot of a page belongs to no section.
    let is_words = |it: &&Block<'_>| match it {
        Block::Paragraph { text, .. } => {
            !is_page_mark(text) && !document.furniture.contains(text.as_str())
        }
        Block::List { .. } | Block::Table(_) => true,
    };
    let blocks: Vec<&Block<'_>> = section.blocks.iter().filter(is_words).collect();
    let answer = answer(document, &blocks)?;
    let (first, last) = (blocks.first()?.span(), blocks.last()?.span());
    let span = first.start..last.end;
    let language = document.language_at(&span);
    let question = question(document, &heading, language);
    let made_by = if heading.ends_with('?') { MadeBy::Faq } else { MadeBy::Section };
    Some(Qa { made_by, language, question, answer, value: None, span, subject: heading })
}

fn answer(document: &Asked<'_>, blocks: &[&Block<'_>]) -> Option<Vec<String>> {
    let mut res = Vec::new();
    let mut n_items = 0;
    for block in blocks {
        match block {
            Block::Paragraph { text, .. } if is_furniture(text) => return None,
            Block::Paragraph { text, .. } => res.extend(document.sentences(text)),
            Block::List { items, .. } => {
                n_items += items.len();
                res.extend(
                    items.iter().map(|(_, it)| ended(plain(it).trim_end_matches([';', ',']))),
                );
            }
            Block::Table(_) => return None,
        }
    }
    let n_chars: usize = res.iter().map(|it| it.chars().count()).sum();
    let fits = res.len() - n_items.min(res.len()) <= SENTENCES_MAX && n_items <= ITEMS_MAX;
    // A sentence that only announces what comes after the section answers nothing.
    let is_open = res.last().is_none_or(|it| it.ends_with(':'));
    (fits && !is_open && ANSWER_CHARS.contains(&n_chars)).then_some(res)
}

/// Leaders of a table of contents, footnotes, lines of a form.
fn is_furniture(text: &str) -> bool {
    text.contains(". . .") || text.contains("....") || text.starts_with("[^") || text.contains("__")
}

fn question(document: &Asked<'_>, heading: &str, language: Language) -> String {
    let source = document.source;
    let (title, quoted_heading) = (quoted(&source.title, language), quoted(heading, language));
    let of = [source.path.as_str(), heading];
    let low = lower_first(heading, &source.text);
    if heading.ends_with('?') {
        return heading.to_owned();
    }
    match language {
        Language::French if begins_with_infinitive(heading) => {
            let phrasings = ["Comment {low} ?", "Comment {low} (voir {title}) ?"];
            // An infinitive alone says too little to be understood.
            let at = usize::from(heading.split_whitespace().count() < 3);
            fill(phrasings[at], &[("low", &low), ("title", &title)])
        }
        Language::French if asks(heading, &["Qui ", "Comment ", "Quand ", "Combien ", "Où "]) => {
            fill("D’après {title}, {low} ?", &[("low", &low), ("title", &title)])
        }
        Language::French => {
            fill(pick(&FRENCH, &of), &[("heading", &quoted_heading), ("title", &title)])
        }
        Language::English if asks(heading, &["How to "]) => {
            let rest = &heading["How to ".len()..];
            let phrasings = ["How do I {rest}? I mean {title}.", "In {title}, how do I {rest}?"];
            fill(pick(&phrasings, &of), &[("rest", rest), ("title", &title)])
        }
        Language::English if asks(heading, &["How many ", "How much ", "How long ", "Who "]) => {
            fill("{title}: {low}?", &[("low", &low), ("title", &source.title)])
        }
        Language::English
            if asks(heading, &["How ", "What ", "When ", "Where ", "If ", "Why "]) =>
        {
            fill(ENGLISH[0], &[("heading", &quoted_heading), ("title", &title)])
        }
        Language::English => fill(pick(&ENGLISH, &of), &[("heading", &low), ("title", &title)]),
    }
}

fn asks(heading: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|it| heading.starts_with(it))
}

/// A numbered item that begins with a label: `3. Sorties. Le voyage annuel …`.
fn labelled(document: &Asked<'_>, span: &std::ops::Range<usize>, text: &str) -> Option<Qa> {
    let text = plain(text);
    let (label, rest) = text.split_once(". ")?;
    let n_words = label.split_whitespace().count();
    let is_label = n_words <= 4
        && label.starts_with(char::is_uppercase)
        && rest.chars().count() >= *ANSWER_CHARS.start()
        && !label.contains([',', ':', ';', '(']);
    let answer = document.sentences(rest);
    if !is_label || answer.is_empty() || answer.len() > SENTENCES_MAX {
        return None;
    }
    let language = document.language_at(span);
    let title = quoted(&document.source.title, language);
    let heading = quoted(label, language);
    let phrasing = match language {
        Language::French => FRENCH[0],
        Language::English => ENGLISH[0],
    };
    let question = fill(phrasing, &[("heading", &heading), ("title", &title)]);
    let subject = label.to_owned();
    let (made_by, span) = (MadeBy::Section, span.clone());
    Some(Qa { made_by, language, question, answer, value: None, span, subject })
}
