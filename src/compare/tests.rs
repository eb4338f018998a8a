//! Constructed cases: what must be said of answers whose worth is known.

use super::{
    arms::parse_arms,
    kept::Reply,
    report::{html::html, markdown::markdown, words::Words},
    result::{Comparison, compare},
    scores::Metric,
    stats::Outcome,
    trained::Trained,
    verdict::Decision,
};
use crate::eval::answers::KnownQuestion;
use ingest::document::Language;

/// Answers of one arm: `R`ight, in `L`onger words but right, `W`rong, re`F`used.
fn replies(pattern: &str, milliseconds: u64) -> Vec<Reply> {
    let reply = |(i, c): (usize, char)| {
        let text = match c {
            'R' => format!("answer{i}"),
            'L' => format!("well, as far as the documents go, it is answer{i}, no more"),
            'W' => "something else".to_owned(),
            _ => "not in the documents".to_owned(),
        };
        let total_us = milliseconds * 1000;
        Reply { text, refused: c == 'F', total_us, ..Reply::default() }
    };
    pattern.chars().enumerate().map(reply).collect()
}

fn known(i: usize, is_answerable: bool) -> KnownQuestion {
    KnownQuestion {
        question: format!("What is asked as number {i}?"),
        answers: if is_answerable { vec![format!("answer{i}")] } else { Vec::new() },
        document: is_answerable.then(|| format!("rh/d{}.md", i % 3)),
        language: Some("en".to_owned()),
        kind: Some(if i.is_multiple_of(2) { "fact" } else { "table" }.to_owned()),
        ..KnownQuestion::default()
    }
}

/// Arms with a pattern and the milliseconds of an answer each. The last `n_unanswerable`
/// questions have no answer.
fn compared(arms: &str, patterns: &[(&str, u64)], n_unanswerable: usize) -> Comparison {
    let arms = parse_arms(arms).unwrap().into_iter().map(|it| (it, Trained::default())).collect();
    let of_arms: Vec<Vec<Reply>> = patterns.iter().map(|(it, ms)| replies(it, *ms)).collect();
    let n = of_arms[0].len();
    let questions = (0..n).map(|i| known(i, i + n_unanswerable < n)).collect();
    let of_questions = (0..n).map(|i| of_arms.iter().map(|it| it[i].clone()).collect()).collect();
    compare(arms, questions, of_questions)
}

#[track_caller]
fn says(it: &Comparison, english: &[&str], french: &[&str]) {
    for word in english {
        assert!(it.verdict.english.contains(word), "`{word}`: {}", it.verdict.english);
    }
    for word in french {
        assert!(it.verdict.french.contains(word), "`{word}`: {}", it.verdict.french);
    }
}

fn outcome(it: &Comparison, metric: Metric) -> Outcome {
    it.pairs_by(metric).next().unwrap().outcome
}

#[test]
fn one_question_concludes_nothing() {
    let it = compared("base,rag", &[("W", 900), ("R", 400)], 0);
    assert_eq!(it.verdict.decision, Decision::TooFew);
    says(&it, &["Nothing can be concluded: 1 question was asked"], &["Rien ne peut être conclu"]);
    assert_eq!(outcome(&it, Metric::Right), Outcome::CannotTell);
}

#[test]
fn identical_arms_do_not_differ() {
    let pattern = "RWRRWRRRWR".repeat(3);
    let it = compared("rag,rag", &[(&pattern, 900), (&pattern, 400)], 0);
    assert_eq!(it.verdict.decision, Decision::Same(1));
    says(&it, &["No difference", "`rag#2`"], &["Aucune différence", "0,4\u{a0}s"]);
    let pair = it.pairs_by(Metric::Right).next().unwrap();
    assert_eq!((pair.difference.mean.value, pair.p_holm, pair.outcome), (0.0, 1.0, Outcome::Same));
    assert_eq!((pair.difference.wins, pair.difference.ties, pair.difference.losses), (0, 30, 0));
}

#[test]
fn a_clear_winner_is_named_with_its_difference() {
    let it = compared(
        "base,rag,extract",
        &[(&"WWWWR".repeat(10), 900), (&"RRRRR".repeat(10), 400), (&"RWRWR".repeat(10), 20)],
        0,
    );
    assert_eq!(it.verdict.decision, Decision::Best(1));
    says(
        &it,
        &["`rag` is best: 100%", "against 60% of `extract`", "40.0 points", "worse: `base` (20%)"],
        &["`rag` est la meilleure", "40,0 points", "Temps médian", "`extract` 0,02"],
    );
    assert_eq!(it.flipped(0, 1), (vec![], (0..50).filter(|i| i % 5 != 4).collect()));
}

#[test]
fn overlapping_arms_cannot_be_told_apart_and_more_questions_would() {
    let mut other = "RWRRWRRRWR".repeat(4);
    other.replace_range(0..4, "WRWW");
    let it = compared("rag,extract", &[(&"RWRRWRRRWR".repeat(4), 900), (&other, 400)], 0);
    let Decision::CannotTell(them) = &it.verdict.decision else { panic!("{:?}", it.verdict) };
    assert_eq!(them, &[0, 1]);
    let more = it.pairs_by(Metric::Right).next().unwrap().difference.more_questions.unwrap();
    assert!(more > 40, "{more}");
    says(
        &it,
        &["cannot be told", "within noise", &format!("{more} more questions")],
        &["Rien ne permet de dire", &format!("{more} questions de plus")],
    );
}

#[test]
fn arms_that_are_as_good_are_alike_with_enough_questions() {
    let pattern = "RWRRWRRRWR".repeat(10);
    let longer = pattern.replace('R', "L");
    let it = compared("rag,rag[passages=2]", &[(&pattern, 900), (&longer, 300)], 0);
    assert_eq!(it.verdict.decision, Decision::Alike(vec![1, 0]));
    says(&it, &["as good as each other", "5 points"], &["se valent"]);
}

#[test]
fn an_adapter_that_changes_words_and_not_facts_is_told() {
    let pattern = "RWRRWRRRWR".repeat(10);
    let it = compared(
        "rag,rag+ft:rh=adapters/rh",
        &[(&pattern.replace('R', "L"), 900), (&pattern, 900)],
        0,
    );
    assert_eq!(outcome(&it, Metric::F1), Outcome::Better);
    says(&it, &["RAG suffices so far", "changes form"], &["Le RAG suffit", "change la forme"]);
    let better = "RRRRRRRRRR".repeat(10);
    let it = compared("rag,rag+ft:rh=adapters/rh", &[(&pattern, 900), (&better, 900)], 0);
    assert_eq!(it.verdict.decision, Decision::Best(1));
    says(&it, &["Fine-tuning pays"], &["L'affinage paie"]);
    let it = compared("rag,ft:rh=adapters/rh", &[(&better, 900), (&pattern, 900)], 0);
    says(&it, &["RAG suffices:", "for the worse"], &["en moins bien"]);
}

#[test]
fn refusals_are_told_where_questions_have_no_answer() {
    let it = compared("base,rag", &[("RRRRRRRRRRWWWWW", 900), ("RRRRRRRRRRFFFFW", 900)], 5);
    says(&it, &["refused: `base` 0, `rag` 4"], &["refusées : `base` 0, `rag` 4"]);
    let no = it.slices.iter().find(|it| (it.by, it.value.as_str()) == ("answerable", "no"));
    let no = no.unwrap();
    assert_eq!((no.n, no.right[0].value, no.right[1].value), (5, 0.0, 0.8));
    let kinds: Vec<&str> = it.slices.iter().map(|it| it.by).collect();
    assert_eq!(kinds, ["answerable", "answerable", "type", "type"], "one language sorts nothing");
}

#[test]
fn documents_that_an_adapter_was_trained_on_are_told() {
    let arms = parse_arms("rag,rag+ft:rh=x").unwrap();
    let documents = Some(["d0.md".to_owned()].into());
    let trained = Trained { seconds: Some(90.0), documents };
    let trained = [Trained::default(), trained];
    let questions: Vec<KnownQuestion> = (0..12).map(|i| known(i, true)).collect();
    let pairs = replies("RRRRRRRRRRRR", 100).into_iter().zip(replies("RWRRRRRRRRRR", 100));
    let it = compare(
        arms.into_iter().zip(trained).collect(),
        questions,
        pairs.map(|(a, b)| vec![a, b]).collect(),
    );
    assert_eq!(it.arms[1].n_seen, 4);
    says(&it, &["4 questions are about documents", "trained in 1.5 min"], &["4 questions portent"]);
}

#[test]
fn reports_hold_everything_and_no_markup_of_others() {
    let mut it = compared("base,rag", &[(&"W".repeat(30), 900), (&"R".repeat(30), 400)], 0);
    it.replies[0][0].text = "<script>alert(1)</script> & | co".to_owned();
    for language in [Language::English, Language::French] {
        let words = Words { language };
        let page = html(&it, words);
        assert!(!page.contains("<script"), "a page that stands alone runs nothing");
        assert!(page.contains("&lt;script&gt;"));
        assert!(!page.contains("http"), "nothing comes from elsewhere");
        assert!(page.contains("<svg") && page.contains("prefers-color-scheme"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("What is asked as number 29?"));
        let text = markdown(&it, words);
        assert!(text.contains("| `base` | `rag` |"), "{text}");
        assert!(text.contains("\\| co"), "{text}");
        assert!(text.contains("20 more") || text.contains("20 autres"), "what is left out is told");
        assert!(!text.contains("NaN") && !page.contains("NaN"));
    }
}
