//! What a document says of itself (reference, date, owner), its numbered rules, and codes that it
//! explains.

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use ingest::document::Language;
use regex::Regex;

use super::{
    Asked, Qa, Value,
    phrases::{ended, fill, pick, plain, quoted},
};
use crate::dataset::{
    corpus::{Block, Section},
    row::MadeBy,
};

/// Bytes of a document's beginning that speak of itself.
const HEAD_BYTES: usize = 800;
/// Rules with the same letters that make a numbering.
const RULES_MIN: usize = 3;
/// Sentences of a rule at most.
const SENTENCES_MAX: usize = 4;

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i:reference|référence|notice|modèle)\s+([A-Z]{2,5}-\d{4}-\d{2,4})\b")
});
static IN_FORCE: LazyLock<Regex> = LazyLock::new(|| {
    let since = "in force from|in force since|en vigueur depuis le|applicable depuis le";
    regex(&format!(r"(?i:{since})\s+(\d{{1,2}}(?:er)?\s+\p{{L}}+\s+\d{{4}})"))
});
static OWNER: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?:Owner: |Responsable : )(\p{Lu}[\p{L}’'-]+(?: \p{Lu}[\p{L}’'-]+)+)")
});
static RULE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^|[.!?»]\s)([A-Z]{1,3}-\d{1,3})\s"));
static CODE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?m)^([A-Z]{2,6}-?\d{2,5})\s?:\s([^\n]{10,300})$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern is valid")
}

/// Questions in both languages with their answers: `{title}` and `{value}` are filled in.
struct Phrases {
    french: ([&'static str; 2], &'static str),
    english: ([&'static str; 2], &'static str),
}

const OF_REFERENCE: Phrases = Phrases {
    french: (
        [
            "Quelle est la référence du document {title} ?",
            "Sous quelle référence trouver {title} ?",
        ],
        "Le document {title} porte la référence {value}.",
    ),
    english: (
        ["What is the reference of {title}?", "Which reference does the document {title} have?"],
        "The reference of {title} is {value}.",
    ),
};
const IN_FORCE_SINCE: Phrases = Phrases {
    french: (
        [
            "Depuis quand le document {title} est-il en vigueur ?",
            "À quelle date {title} est-il entré en vigueur ?",
        ],
        "Le document {title} est en vigueur depuis le {value}.",
    ),
    english: (
        ["Since when has {title} been in force?", "When did {title} come into force?"],
        "{title} has been in force since {value}.",
    ),
};
const OWNED_BY: Phrases = Phrases {
    french: (
        [
            "Qui est responsable du document {title} ?",
            "À qui s’adresser au sujet du document {title} ?",
        ],
        "Responsable du document {title} : {value}.",
    ),
    english: (
        ["Who owns the document {title}?", "Who is the owner of {title}?"],
        "The owner of {title} is {value}.",
    ),
};

/// The reference that a document gives itself: its translations and later versions have the same.
pub(super) fn reference(text: &str) -> Option<&str> {
    Some(REFERENCE.captures(head(text))?.get(1)?.as_str())
}

/// The beginning of a text.
fn head(text: &str) -> &str {
    let mut end = text.len().min(HEAD_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What the beginning of a document says of it.
pub(super) fn of(document: &Asked<'_>) -> Vec<Qa> {
    let head = head(&document.source.text);
    let mut res = Vec::new();
    for (pattern, phrases) in
        [(&REFERENCE, &OF_REFERENCE), (&IN_FORCE, &IN_FORCE_SINCE), (&OWNER, &OWNED_BY)]
    {
        let Some(found) = pattern.captures(head) else { continue };
        let (Some(all), Some(value)) = (found.get(0), found.get(1)) else { continue };
        let span = all.range();
        let language = document.language_at(&span);
        let (questions, answer) = match language {
            Language::French => &phrases.french,
            Language::English => &phrases.english,
        };
        let title = quoted(&document.source.title, language);
        let of = [document.source.path.as_str(), questions[0]];
        let value = plain(value.as_str());
        let values = [("title", title.as_str()), ("value", value.as_str())];
        res.push(Qa {
            made_by: MadeBy::Record,
            language,
            question: fill(pick(questions, &of), &values),
            answer: vec![fill(answer, &values)],
            value: Some(Value { text: value, is_enough: true }),
            span,
            subject: document.source.title.clone(),
        });
    }
    res.extend(codes(document));
    res
}

/// Lines such as `VPN-401 : la clé n’est pas reconnue.`
fn codes(document: &Asked<'_>) -> Vec<Qa> {
    let text = &document.source.text;
    let found = CODE.captures_iter(text).filter_map(|it| {
        let (all, code, rest) = (it.get(0)?, it.get(1)?.as_str(), it.get(2)?.as_str());
        let language = document.language_at(&all.range());
        let (questions, first) = match language {
            Language::French => {
                (["Que signifie {code} ?", "J’obtiens {code} : que faire ?"], format!("{code} : "))
            }
            Language::English => {
                (["What does {code} mean?", "I get {code}: what should I do?"], format!("{code}: "))
            }
        };
        let mut answer = document.sentences(rest);
        let head = answer.first_mut()?;
        head.insert_str(0, &first);
        Some(Qa {
            made_by: MadeBy::Definition,
            language,
            question: fill(pick(&questions, &[code, &document.source.path]), &[("code", code)]),
            answer: answer.iter().map(|it| ended(it)).collect(),
            value: None,
            span: all.range(),
            subject: code.to_owned(),
        })
    });
    found.collect()
}

/// Numbered rules: `R-07 The disk must be encrypted. …`.
pub(super) fn rules(document: &Asked<'_>, section: &Section<'_>) -> Vec<Qa> {
    let prefixes = prefixes(&document.source.text);
    let mut res = Vec::new();
    for block in &section.blocks {
        let Block::Paragraph { span, .. } = block else { continue };
        let text = &document.source.text[span.clone()];
        let starts: Vec<(Range<usize>, &str)> = RULE
            .captures_iter(text)
            .filter_map(|it| it.get(1))
            .filter(|it| prefixes.get(prefix(it.as_str())).is_some_and(|n| *n >= RULES_MIN))
            // `VPN-401 : …` explains a code, and is no rule.
            .filter(|it| !text[it.end()..].trim_start().starts_with([':', '–', '—']))
            .map(|it| (it.range(), it.as_str()))
            .collect();
        for (i, (at, code)) in starts.iter().enumerate() {
            let end = starts.get(i + 1).map_or(text.len(), |(next, _)| next.start);
            let answer = document.sentences(&text[at.end..end]);
            if answer.is_empty() || answer.len() > SENTENCES_MAX {
                continue;
            }
            let place = span.start + at.start..span.start + text[..end].trim_end().len();
            let language = document.language_at(&place);
            let phrasings = match language {
                Language::French => ["Que dit la règle {code} ?", "Qu’impose la règle {code} ?"],
                Language::English => ["What does rule {code} say?", "What does {code} require?"],
            };
            res.push(Qa {
                made_by: MadeBy::Rule,
                language,
                question: fill(pick(&phrasings, &[code]), &[("code", code)]),
                answer,
                value: None,
                span: place,
                subject: (*code).to_owned(),
            });
        }
    }
    res
}

/// How many rules there are with each letters.
fn prefixes(text: &str) -> BTreeMap<&str, usize> {
    let mut res = BTreeMap::new();
    for line in text.lines() {
        for code in RULE.captures_iter(line).filter_map(|it| it.get(1)) {
            *res.entry(prefix(code.as_str())).or_default() += 1;
        }
    }
    res
}

fn prefix(code: &str) -> &str {
    code.split('-').next().unwrap_or_default()
}
