//! Two versions of one document: the newer one speaks.
//!
//! Documents are versions of each other when their titles agree but for figures, and a sentence
//! that bears on the question says the same in both, with other figures. Which one is newer, the
//! texts say themselves, else the years of title and path, else the date of the document.

use std::{cell::OnceCell, collections::BTreeSet, sync::LazyLock};

use regex::Regex;

use crate::{
    answer::Cut,
    asked::Asked,
    cite::{Claims, SourceFacts, fold, plain},
    retrieve::Passage,
    words::stems,
};

/// Jaccard similarity of the stems without figures from which two texts count as versions.
const ALIKE_MIN: f32 = 0.6;
/// Sentences of each passage that are compared: those that bear most on the question.
const SENTENCES_COMPARED: usize = 3;
/// Dates closer than this do not tell versions apart: files of one copy are written together.
const SECONDS_APART_MIN: i64 = 24 * 60 * 60;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a literal pattern is valid")
}

static REPLACED: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(remplacee? par|annulee? par|abrogee?s?\b|n'est plus en vigueur|perimee?\b|",
        r"superseded by|replaced by|no longer in force|obsolete)",
    ))
});
static REPLACES: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(remplace|replaces|supersedes) (la |le |les |l'|the )?",
        r"(version|charte|politique|note|document|policy|charter|previous|precedente?|edition)",
    ))
});
static YEAR: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(19|20)\d\d\b"));

/// Splits passages that were read for a question into those that speak and those that a newer
/// version among them replaces, each with the reason. A question that names a year gets what it
/// asks for.
#[must_use]
pub fn current(asked: &Asked, passages: Vec<Passage>) -> (Vec<Passage>, Vec<(Passage, Cut)>) {
    if asked.claims.figures.iter().any(|it| YEAR.is_match(&it.text)) {
        return (passages, Vec::new());
    }
    let versions: Vec<Version<'_>> = passages.iter().map(Version::of).collect();
    let outdated: Vec<bool> =
        versions.iter().map(|a| versions.iter().any(|b| a.is_replaced_by(b))).collect();
    let mut current = Vec::new();
    let mut cut = Vec::new();
    for (passage, outdated) in passages.into_iter().zip(outdated) {
        if outdated {
            cut.push((passage, Cut::Outdated));
        } else {
            current.push(passage);
        }
    }
    (current, cut)
}

/// A passage as a version of its document. Most have none beside them, and then no more than their
/// title is read.
struct Version<'a> {
    passage: &'a Passage,
    /// Stems of its document's title.
    title: BTreeSet<String>,
    standing: OnceCell<Standing>,
    sentences: OnceCell<Vec<Sentence>>,
}

impl<'a> Version<'a> {
    fn of(passage: &'a Passage) -> Self {
        let title = title(passage);
        Self { passage, title, standing: OnceCell::new(), sentences: OnceCell::new() }
    }

    fn standing(&self) -> &Standing {
        self.standing.get_or_init(|| Standing::of(self.passage))
    }

    fn sentences(&self) -> &[Sentence] {
        self.sentences.get_or_init(|| best_sentences(self.passage))
    }

    fn is_replaced_by(&self, other: &Self) -> bool {
        self.passage.chunk.document != other.passage.chunk.document
            && alike(&self.title, &other.title)
            && self.standing().is_older_than(other.standing())
            && self.sentences().iter().any(|a| other.sentences().iter().any(|b| a.is_version_of(b)))
    }
}

/// A sentence without its figures, and its figures.
struct Sentence {
    stems: BTreeSet<String>,
    claims: Claims,
    facts: SourceFacts,
}

impl Sentence {
    /// Whether the two say the same with other figures.
    fn is_version_of(&self, other: &Self) -> bool {
        alike(&self.stems, &other.stems)
            && !self.claims.figures.is_empty()
            && !self.claims.missing(&other.facts).is_empty()
    }
}

fn best_sentences(passage: &Passage) -> Vec<Sentence> {
    let reading = &passage.reading;
    let mut order: Vec<usize> =
        (0..reading.units.len()).filter(|i| reading.supports[*i].score > 0.0).collect();
    order.sort_by(|a, b| reading.supports[*b].score.total_cmp(&reading.supports[*a].score));
    order.truncate(SENTENCES_COMPARED);
    let sentence = |i: usize| {
        let text = reading.units[i].with_header(&reading.text);
        let stems = without_figures(&text, passage);
        Sentence { stems, claims: Claims::of(&text), facts: SourceFacts::of(&text) }
    };
    order.into_iter().map(sentence).collect()
}

fn without_figures(text: &str, passage: &Passage) -> BTreeSet<String> {
    let mut res = stems(text, passage.chunk.facets.language);
    res.retain(|it| !it.chars().any(|c| c.is_ascii_digit()));
    res
}

/// Whether two sets of stems are nearly the same, by their Jaccard similarity.
#[expect(clippy::cast_precision_loss, reason = "the stems of a sentence are few")]
fn alike(a: &BTreeSet<String>, b: &BTreeSet<String>) -> bool {
    let shared = a.intersection(b).count() as f32;
    shared > 0.0 && shared >= ALIKE_MIN * a.union(b).count() as f32
}

/// The stems of a document's title without figures, and without what it says of its replacement.
fn title(passage: &Passage) -> BTreeSet<String> {
    let folded = fold(&passage.chunk.title);
    let end = REPLACED.find(&folded).map_or(folded.len(), |it| it.start());
    without_figures(&folded[..end], passage)
}

/// What a passage says of its document's age.
struct Standing {
    is_replaced: bool,
    replaces: bool,
    /// The last year that title and path name.
    year: Option<u16>,
    modified: Option<i64>,
}

impl Standing {
    fn of(passage: &Passage) -> Self {
        let chunk = &passage.chunk;
        let text = plain(&fold(&format!("{}\n{}", chunk.title, chunk.text)));
        // `_` is a letter to a regex, and stands beside years in names of files.
        let name = format!("{} {}", chunk.title, chunk.facets.path).replace('_', " ");
        Self {
            is_replaced: REPLACED.is_match(&text),
            replaces: REPLACES.is_match(&text),
            year: YEAR.find_iter(&name).filter_map(|it| it.as_str().parse().ok()).max(),
            modified: chunk.facets.modified,
        }
    }

    /// Whether it is the older of two; not when nothing tells.
    fn is_older_than(&self, other: &Self) -> bool {
        if self.is_replaced != other.is_replaced {
            return self.is_replaced;
        }
        if let (Some(a), Some(b)) = (self.year, other.year)
            && a != b
        {
            return a < b;
        }
        if self.replaces != other.replaces {
            return other.replaces;
        }
        match (self.modified, other.modified) {
            (Some(a), Some(b)) => b - a >= SECONDS_APART_MIN,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asked::tests::asked,
        samples::{passage, read},
    };

    const OLD: &str = "La note est déposée au plus tard le 10 du mois suivant.";
    const NEW: &str = "La note est déposée dans l'outil Frelon au plus tard le 5 du mois suivant.";
    const QUESTION: &str = "Jusqu'à quand déposer ma note de frais ?";

    #[track_caller]
    fn check(question: &str, passages: Vec<Passage>, expected: &[i64]) {
        let asked = asked(question);
        let (current, cut) = current(&asked, read(&asked, passages));
        let found: Vec<i64> = current.iter().map(|it| it.chunk.document.0).collect();
        assert_eq!(found, expected, "{question}");
        assert!(cut.iter().all(|(_, cut)| *cut == Cut::Outdated));
    }

    #[test]
    fn years_of_titles_tell_versions_apart() {
        let passages = || vec![passage(1, "Frais (2023)", OLD), passage(2, "Frais 2026", NEW)];
        check(QUESTION, passages(), &[2]);
        check("Jusqu'à quand déposer ma note de frais en 2023 ?", passages(), &[1, 2]);
    }

    #[test]
    fn a_title_that_says_it_is_replaced_is_older() {
        let old = passage(1, "Notes de frais (remplacée par FIN-2026-002)", OLD);
        check(QUESTION, vec![old, passage(2, "Notes de frais", NEW)], &[2]);
    }

    #[test]
    fn a_text_that_says_what_it_replaces_is_newer() {
        let new = format!("Elle remplace la version de 2023. {NEW}");
        check(QUESTION, vec![passage(1, "Frais", OLD), passage(2, "Frais", &new)], &[2]);
    }

    #[test]
    fn dates_of_documents_tell_when_nothing_else_does() {
        let dated = |id, text, modified| {
            let mut res = passage(id, "Frais", text);
            res.chunk.facets.modified = Some(modified);
            res
        };
        check(QUESTION, vec![dated(1, OLD, 0), dated(2, NEW, 90_000)], &[2]);
        check(QUESTION, vec![dated(1, OLD, 0), dated(2, NEW, 60)], &[1, 2]);
    }

    #[test]
    fn other_documents_with_the_same_sentence_stay() {
        let lyon = passage(1, "Bail de Lyon 2022", "Le loyer annuel est de 84 600 €.");
        let nantes = passage(2, "Bail de Nantes 2025", "Le loyer annuel est de 60 000 €.");
        check("Quel est le loyer annuel ?", vec![lyon, nantes], &[1, 2]);
    }
}
