//! How answers and passages look on a terminal.

use anyhow::Result;
use ingest::document::Language;

use crate::{
    answer::{Answer, Cut},
    cite::{CheckedSentence, Origin, Verdict},
    places::Place,
    printer::{BOLD, CYAN, DIM, GREEN, Printer, RED, YELLOW, styled},
    rerank::RerankCost,
    retrieve::{Passage, RetrievalReport},
};

/// Characters of a passage shown in a list.
const SNIPPET_CHARS: usize = 160;

/// An answer: its sentences with verdicts, then its sources.
pub(super) fn answer(printer: Printer, answer: &Answer, places: &[Option<Place>]) -> Result<()> {
    let words = Words::of(answer.language);
    if let Some(reasoning) = &answer.reasoning {
        printer.line(styled(DIM, format!("{}\n{}\n", words.reasoning, reasoning.trim())))?;
    }
    if answer.sentences.is_empty() {
        printer.line(styled(BOLD, &answer.text))?;
    }
    for sentence in &answer.sentences {
        printer.line(sentence_line(sentence, words))?;
    }
    if answer.truncated {
        printer.warn(words.truncated);
    }
    let n_left_out = answer.cut.iter().filter(|(_, cut)| *cut == Cut::NoRoom).count();
    if n_left_out > 0 {
        printer.note(format!("{n_left_out} {}", words.no_room));
    }
    if answer.refused && answer.passages.is_empty() {
        return Ok(());
    }
    printer.line(format!("\n{}", styled(BOLD, words.sources)))?;
    for (i, it) in answer.passages.iter().enumerate() {
        let of_source: Vec<&Place> =
            places.iter().flatten().filter(|place| place.source == i).collect();
        passage(printer, i + 1, it, &of_source)?;
    }
    for (it, _) in answer.cut.iter().filter(|(_, cut)| *cut == Cut::Outdated) {
        let date = it.date().map_or(String::new(), |it| format!(" ({it})"));
        printer.line(styled(DIM, format!("{} {}{date}", words.older, it.chunk.facets.path)))?;
    }
    let ms = |it: std::time::Duration| format!("{:.2} s", it.as_secs_f64());
    printer.line(styled(
        DIM,
        format!(
            "\n{} · {} {} · {} {}",
            answer.generator.as_deref().unwrap_or("-"),
            words.first_token,
            ms(answer.timings.first_token),
            words.total,
            ms(answer.timings.total)
        ),
    ))?;
    Ok(())
}

fn sentence_line(sentence: &CheckedSentence, words: &Words) -> String {
    let (mark, style, verdict) = match sentence.verdict {
        Verdict::Supported => ("✓", GREEN, words.supported),
        Verdict::Partly => ("~", YELLOW, words.partly),
        Verdict::Unsupported => ("✗", RED, words.unsupported),
    };
    let marks: String = sentence.citations.iter().map(|it| format!(" [{}]", it + 1)).collect();
    let mut why = verdict.to_owned();
    if sentence.origin == Origin::Attributed {
        why = format!("{why}, {}", words.attributed);
    }
    if !sentence.missing.is_empty() {
        why = format!("{why}; {} {}", words.missing, sentence.missing.join(", "));
    }
    format!(
        "{} {}{}  {}",
        styled(style, mark),
        sentence.text,
        styled(CYAN, marks),
        styled(DIM, format!("({why})"))
    )
}

/// A passage with its place, and its text around the evidence (places in this passage); without
/// any, the beginning of its text.
pub(super) fn passage(
    printer: Printer,
    index: usize,
    passage: &Passage,
    evidence: &[&Place],
) -> Result<()> {
    let chunk = &passage.chunk;
    let first = evidence.first();
    let page = first.and_then(|it| it.page).or(chunk.page);
    let heading = first.and_then(|it| it.heading.as_ref()).or(chunk.heading_path.last());
    let mut place = chunk.facets.path.clone();
    if let Some(page) = page {
        place = format!("{place}, p. {page}");
    }
    if let Some(heading) = heading {
        place = format!("{place} › {heading}");
    }
    printer.line(format!(
        "{} {}  {}",
        styled(CYAN, format!("[{index}]")),
        styled(BOLD, &chunk.title),
        styled(DIM, place)
    ))?;
    let mut shown: Vec<String> = Vec::new();
    for it in evidence {
        let around = snippet_around(&chunk.text, &it.text);
        if !shown.contains(&around) {
            shown.push(around);
        }
    }
    if shown.is_empty() {
        shown.push(snippet(&chunk.text));
    }
    for it in shown {
        printer.line(format!("    {it}"))?;
    }
    Ok(())
}

/// What speaks for a passage, in numbers.
pub(super) fn scores(passage: &Passage) -> String {
    let place = |it: Option<index::fuse::Place>| {
        it.map_or("-".to_owned(), |it| format!("{:.3} (rank {})", it.score, it.rank))
    };
    let duplicates = match passage.n_duplicates {
        0 => String::new(),
        n => format!(", {n} near duplicates left out"),
    };
    let rerank = passage
        .rerank
        .map_or(String::new(), |it| format!("rerank {:.4} (logit {:.3}), ", it.score, it.logit));
    format!(
        "{rerank}score {:.3}, bm25 {}, dense {}, relevance {:.2}{duplicates}",
        passage.score,
        place(passage.lexical),
        place(passage.dense),
        passage.relevance
    )
}

/// What retrieval could not read to its end.
pub(super) fn cut_notes(printer: Printer, report: &RetrievalReport) {
    if let Some(n_tokens) = report.question_cut_at {
        printer.warn(format!(
            "the question is long: the embedder read its first {n_tokens} tokens, and words of the \
             rest count only where they are found literally"
        ));
    }
    if let Some(cost) = report.rerank
        && cost.n_truncated > 0
    {
        printer.note(format!(
            "the reranker did not read {} of {} candidates to their end",
            cost.n_truncated, cost.n_pairs
        ));
    }
}

/// What reranking took, in words.
pub(super) fn rerank_cost(cost: &RerankCost) -> String {
    let seconds = cost.elapsed.as_secs_f64();
    format!("reranked {} candidates ({} tokens) in {seconds:.2} s", cost.n_pairs, cost.n_tokens)
}

/// The beginning of a text on one line.
pub(super) fn snippet(text: &str) -> String {
    let flat = flat(text);
    match flat.char_indices().nth(SNIPPET_CHARS) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

/// Why a server is asked again, and with what.
pub(super) fn shortened(host: &str, n_passages: usize, language: Option<Language>) -> String {
    match language {
        Some(Language::French) => format!(
            "{host} trouve l'invite trop longue : nouvel essai avec {n_passages} passages et sans \
             exemples (réglage : upstream.context_tokens)"
        ),
        Some(Language::English) | None => format!(
            "{host} finds the prompt too long: asking again with {n_passages} passages and no \
             examples (setting: upstream.context_tokens)"
        ),
    }
}

/// A text on one line, without the marks of its headings.
fn flat(text: &str) -> String {
    let is_mark = |it: &&str| it.chars().all(|c| c == '#');
    text.split_whitespace().filter(|it| !is_mark(it)).collect::<Vec<_>>().join(" ")
}

/// The part of a text that holds `words`, on one line, with what stands before and after them.
fn snippet_around(text: &str, words: &str) -> String {
    let (text, words) = (flat(text), flat(words));
    let Some(at) = text.find(&words) else { return snippet(&words) };
    let n_words = words.chars().count();
    // All of the words, and as much around them as a snippet has room for.
    let room = SNIPPET_CHARS.saturating_sub(n_words) / 2;
    let (before, after) = (&text[..at], &text[at + words.len()..]);
    let before = match before.char_indices().rev().nth(room) {
        // From the next blank on: no word is cut.
        Some((cut, _)) => match before[cut..].find(' ') {
            Some(blank) => format!("…{}", &before[cut + blank..]),
            None => "…".to_owned(),
        },
        None => before.to_owned(),
    };
    let after = match after.char_indices().nth(room) {
        Some((cut, _)) => match after[..cut].rfind(' ') {
            Some(blank) => format!("{}…", &after[..=blank]),
            None => "…".to_owned(),
        },
        None => after.to_owned(),
    };
    format!("{before}{words}{after}")
}

/// The words around an answer, in its language.
struct Words {
    sources: &'static str,
    reasoning: &'static str,
    supported: &'static str,
    partly: &'static str,
    unsupported: &'static str,
    attributed: &'static str,
    missing: &'static str,
    truncated: &'static str,
    no_room: &'static str,
    older: &'static str,
    first_token: &'static str,
    total: &'static str,
}

impl Words {
    fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &Self {
                sources: "Sources",
                reasoning: "Reasoning",
                supported: "supported",
                partly: "partly supported",
                unsupported: "not supported",
                attributed: "source found by us, not cited by the model",
                missing: "not in the source:",
                truncated: "the answer reached its limit of tokens (--answer-tokens)",
                no_room: "passages found did not fit the prompt (generation.context_tokens_max)",
                older: "an older version says otherwise:",
                first_token: "first token",
                total: "total",
            },
            Language::French => &Self {
                sources: "Sources",
                reasoning: "Raisonnement",
                supported: "étayé",
                partly: "étayé en partie",
                unsupported: "non étayé",
                attributed: "source retrouvée par nous, non citée par le modèle",
                missing: "absent de la source :",
                truncated: "la réponse a atteint sa limite de jetons (--answer-tokens)",
                no_room: "passages trouvés ne tiennent pas dans l'invite \
                          (generation.context_tokens_max)",
                older: "une version plus ancienne dit autre chose :",
                first_token: "premier jeton",
                total: "total",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_shows_all_of_the_evidence_and_what_stands_around_it() {
        let before = "mot ".repeat(60);
        let found =
            snippet_around(&format!("{before}Le\nprix est 8 €. {before}"), "Le prix est 8 €.");
        assert!(found.starts_with("… mot"), "{found}");
        assert!(found.contains("mot Le prix est 8 €. mot"), "{found}");
        assert!(found.ends_with("mot …"), "{found}");
        assert_eq!(snippet_around("Court. Fin.", "Fin."), "Court. Fin.");
    }
}
