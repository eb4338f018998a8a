//! How answers and passages look on a terminal.

use anyhow::Result;
use index::{Index, hit::DocumentId};
use ingest::document::Language;

use crate::{
    answer::{Answer, Cut},
    cite::{CheckedSentence, Origin, Verdict},
    printer::{BOLD, CYAN, DIM, GREEN, Printer, RED, YELLOW, styled},
    retrieve::Passage,
};

/// Characters of a passage shown in a list.
const SNIPPET_CHARS: usize = 160;

/// An answer: its sentences with verdicts, then its sources.
pub(super) fn answer(printer: Printer, answer: &Answer) -> Result<()> {
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
        passage(printer, i + 1, it)?;
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

/// A passage with its place and the beginning of its text.
pub(super) fn passage(printer: Printer, index: usize, passage: &Passage) -> Result<()> {
    let chunk = &passage.chunk;
    let mut place = chunk.facets.path.clone();
    if let Some(page) = chunk.page {
        place = format!("{place}, p. {page}");
    }
    if let Some(heading) = chunk.heading_path.last() {
        place = format!("{place} › {heading}");
    }
    printer.line(format!(
        "{} {}  {}",
        styled(CYAN, format!("[{index}]")),
        styled(BOLD, &chunk.title),
        styled(DIM, place)
    ))?;
    printer.line(format!("    {}", snippet(&chunk.text)))?;
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
    format!(
        "score {:.3}, bm25 {}, dense {}, relevance {:.2}{duplicates}",
        passage.score,
        place(passage.lexical),
        place(passage.dense),
        passage.relevance
    )
}

/// The beginning of a text on one line.
pub(super) fn snippet(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(SNIPPET_CHARS) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

/// The spans of passages in Unicode characters of their documents' texts.
pub(super) fn char_spans(index: &Index, passages: &[Passage]) -> Result<Vec<(usize, usize)>> {
    let mut last: Option<(DocumentId, String)> = None;
    let mut res = Vec::with_capacity(passages.len());
    for passage in passages {
        let chunk = &passage.chunk;
        if last.as_ref().is_none_or(|(id, _)| *id != chunk.document) {
            let text = index.catalog().text(chunk.document)?.map(|it| it.text).unwrap_or_default();
            last = Some((chunk.document, text));
        }
        let text = last.as_ref().map_or("", |(_, text)| text.as_str());
        let start = text.get(..chunk.span.start).map_or(0, |it| it.chars().count());
        res.push((start, start + chunk.text.chars().count()));
    }
    Ok(res)
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
                no_room: "passages trouvés ne tiennent pas dans l'invite (generation.context_tokens_max)",
                first_token: "premier jeton",
                total: "total",
            },
        }
    }
}
