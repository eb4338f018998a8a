//! What one answer is worth, without a judge.

use ingest::{document::Language, language::detect};

use super::kept::Reply;
use crate::{
    cite::{Claims, SourceFacts},
    eval::answers::{KnownQuestion, normalised, same_document, score},
};

/// What is measured of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Right or wrong: the answer holds an accepted one; where there is none, it refuses.
    Right,
    /// The answer is an accepted one, word for word.
    ExactMatch,
    /// Token F1 with the nearest accepted answer.
    F1,
    /// The answer contains an accepted one.
    Contains,
    /// F of the longest common subsequence of words (Lin 2004).
    RougeL,
    /// Share of the accepted answer's figures, dates and codes that the answer states.
    Facts,
    /// Share of citations that point at the document that holds the answer.
    CitationPrecision,
    /// Whether that document is cited.
    CitationRecall,
    /// Share of sentences that the checker finds in what they cite.
    Supported,
    /// Whether it answers what can be answered and refuses the rest.
    Refusal,
    /// Whether it is in the question's language, where that can be told.
    RightLanguage,
    /// Words of the answer.
    Words,
    /// Tokens that the model wrote.
    Tokens,
    /// Milliseconds to the first piece of the answer.
    FirstToken,
    /// Milliseconds in all.
    Total,
    /// Megabytes of weights and of the cache that the answer needs: computed, not measured.
    Memory,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Neither: a length is good or bad only by what is asked, and what is computed is no sample.
    Neither,
}

impl Metric {
    /// All of them, as reports list them.
    pub const ALL: [Self; 16] = [
        Self::Right,
        Self::ExactMatch,
        Self::F1,
        Self::Contains,
        Self::RougeL,
        Self::Facts,
        Self::CitationPrecision,
        Self::CitationRecall,
        Self::Supported,
        Self::Refusal,
        Self::RightLanguage,
        Self::Words,
        Self::Tokens,
        Self::FirstToken,
        Self::Total,
        Self::Memory,
    ];

    /// Its name in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::ExactMatch => "exact_match",
            Self::F1 => "f1",
            Self::Contains => "contains",
            Self::RougeL => "rouge_l",
            Self::Facts => "facts",
            Self::CitationPrecision => "citation_precision",
            Self::CitationRecall => "citation_recall",
            Self::Supported => "supported",
            Self::Refusal => "refusal",
            Self::RightLanguage => "right_language",
            Self::Words => "words",
            Self::Tokens => "tokens",
            Self::FirstToken => "first_token_ms",
            Self::Total => "total_ms",
            Self::Memory => "memory_mb",
        }
    }

    /// The metric of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Which way is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::Words | Self::Tokens | Self::Memory => Better::Neither,
            Self::FirstToken | Self::Total => Better::Lower,
            _ => Better::Higher,
        }
    }

    /// Whether an answer has it or has it not, so that pairs are compared by McNemar's test.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(
            self,
            Self::Right
                | Self::ExactMatch
                | Self::Contains
                | Self::CitationRecall
                | Self::Refusal
                | Self::RightLanguage
        )
    }
}

/// What an arm keeps in memory to answer. Computed from its files and its model's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the weights of its model, adapter, embedder and reranker, as their files have them.
    pub weights_bytes: u64,
    /// Bytes of keys and values that its model keeps for each token; 0 without a model.
    pub token_bytes: u64,
}

impl Footprint {
    /// Bytes that an answer needs: the weights, and the keys and values of its prompt and of what
    /// was written.
    #[must_use]
    pub fn bytes(self, reply: &Reply) -> u64 {
        let n_tokens = u64::try_from(reply.n_prompt_tokens + reply.n_tokens).unwrap_or(u64::MAX);
        self.weights_bytes.saturating_add(self.token_bytes.saturating_mul(n_tokens))
    }
}

/// What scores need to know of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scored {
    /// Whether it can cite at all.
    pub reads_documents: bool,
    /// What it keeps in memory; `None` where a server writes.
    pub footprint: Option<Footprint>,
}

/// What an answer is worth: `None` where a metric says nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores([Option<f64>; Metric::ALL.len()]);

impl Scores {
    /// The value of a metric.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0[metric as usize]
    }

    fn set(&mut self, metric: Metric, value: Option<f64>) {
        self.0[metric as usize] = value;
    }

    /// Scores an answer of an arm.
    #[must_use]
    pub fn of(known: &KnownQuestion, reply: &Reply, arm: Scored) -> Self {
        let mut res = Self::default();
        let is_answerable = !known.answers.is_empty();
        res.set(Metric::Refusal, Some(flag(reply.refused != is_answerable)));
        if is_answerable {
            res.of_accepted(known, reply);
            if arm.reads_documents {
                res.of_citations(known, reply);
            }
        } else {
            res.set(Metric::Right, Some(flag(reply.refused)));
        }
        res.set(Metric::Supported, supported(reply));
        res.set(Metric::RightLanguage, right_language(known, reply));
        res.set(Metric::Words, Some(reply.text.split_whitespace().count() as f64));
        res.set(Metric::Tokens, (reply.n_tokens > 0).then_some(reply.n_tokens as f64));
        // Where nothing was written, the refusal comes at once, and is all there is.
        let first = if reply.first_us == 0 { reply.total_us } else { reply.first_us };
        res.set(Metric::FirstToken, Some(first as f64 / 1000.0));
        res.set(Metric::Total, Some(reply.total_us as f64 / 1000.0));
        res.set(Metric::Memory, arm.footprint.map(|it| it.bytes(reply) as f64 / 1e6));
        res
    }

    fn of_accepted(&mut self, known: &KnownQuestion, reply: &Reply) {
        let words = score(&reply.text, &known.answers);
        let own = normalised(&reply.text);
        let accepted: Vec<Vec<String>> = known.answers.iter().map(|it| normalised(it)).collect();
        let facts: Vec<Option<f64>> =
            known.answers.iter().map(|it| facts_stated(it, &reply.text)).collect();
        // `3 days` for `three days per week`: all its figures, and half its words.
        let says_it = |(words, facts): (&Vec<String>, &Option<f64>)| {
            *facts == Some(1.0) && 2 * shared(&own, words) >= words.len()
        };
        let holds = words.contains > 0.0 || accepted.iter().zip(&facts).any(says_it);
        self.set(Metric::Right, Some(flag(holds && !reply.refused)));
        self.set(Metric::ExactMatch, Some(words.exact_match));
        self.set(Metric::F1, Some(words.f1));
        self.set(Metric::Contains, Some(words.contains));
        let rouge = accepted.iter().map(|it| rouge_l(&own, it)).fold(0.0, f64::max);
        self.set(Metric::RougeL, Some(rouge));
        self.set(Metric::Facts, facts.into_iter().flatten().reduce(f64::max));
    }

    fn of_citations(&mut self, known: &KnownQuestion, reply: &Reply) {
        let Some(document) = &known.document else { return };
        let cited = reply.sentences.iter().flat_map(|it| &it.citations);
        let hits: Vec<bool> = cited
            .map(|it| reply.sources.get(*it).is_some_and(|it| same_document(document, it)))
            .collect();
        let n_hits = hits.iter().filter(|it| **it).count();
        self.set(Metric::CitationRecall, Some(flag(n_hits > 0)));
        self.set(Metric::CitationPrecision, share(n_hits, hits.len()));
    }
}

fn flag(it: bool) -> f64 {
    f64::from(u8::from(it))
}

fn share(n: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

/// The share of supported sentences; `None` for refusals and for arms without documents, of which
/// there is nothing to check.
fn supported(reply: &Reply) -> Option<f64> {
    if reply.refused {
        return None;
    }
    let n_supported = reply.sentences.iter().filter(|it| it.supported).count();
    share(n_supported, reply.sentences.len())
}

fn right_language(known: &KnownQuestion, reply: &Reply) -> Option<f64> {
    let of_code = known.language.as_deref().and_then(Language::from_code);
    let wanted = of_code.or_else(|| detect(&known.question))?;
    detect(&reply.text).map(|it| flag(it == wanted))
}

/// The share of an accepted answer's figures, dates, times and codes that an answer states; `None`
/// where it has none.
fn facts_stated(accepted: &str, answer: &str) -> Option<f64> {
    let claims = Claims { quotes: Vec::new(), names: Vec::new(), ..Claims::of(accepted) };
    let n_facts = claims.figures.len() + claims.codes.len();
    let n_missing = claims.missing(&SourceFacts::of(answer)).len();
    share(n_facts.saturating_sub(n_missing), n_facts)
}

/// Words of a sentence at least: an answer of fewer is found in most answers that say it.
const SENTENCE_WORDS_MIN: usize = 6;

/// Whether only these very words are right: every accepted answer is a sentence without a figure, date
/// or code, so that the same in other words counts as wrong.
#[must_use]
pub fn is_word_for_word(known: &KnownQuestion) -> bool {
    let is_sentence =
        |it: &String| normalised(it).len() >= SENTENCE_WORDS_MIN && facts_stated(it, it).is_none();
    !known.answers.is_empty() && known.answers.iter().all(is_sentence)
}

/// Words that both have, each counted as often as both have it.
fn shared(own: &[String], theirs: &[String]) -> usize {
    let mut rest: Vec<&String> = own.iter().collect();
    let mut n_shared = 0;
    for word in theirs {
        if let Some(i) = rest.iter().position(|it| *it == word) {
            rest.swap_remove(i);
            n_shared += 1;
        }
    }
    n_shared
}

/// F of the longest common subsequence, precision and recall weighing the same.
fn rouge_l(own: &[String], theirs: &[String]) -> f64 {
    let mut row = vec![0_usize; theirs.len() + 1];
    for word in own {
        let mut before = 0;
        for (j, other) in theirs.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { before + 1 } else { above.max(row[j]) };
            before = above;
        }
    }
    let n_common = row[theirs.len()];
    if n_common == 0 {
        return 0.0;
    }
    2.0 * n_common as f64 / (own.len() + theirs.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::{super::kept::KeptSentence, *};

    fn known(answers: &[&str]) -> KnownQuestion {
        KnownQuestion {
            question: "How many days of remote work are allowed?".to_owned(),
            answers: answers.iter().map(|it| (*it).to_owned()).collect(),
            document: Some("rh/remote.md".to_owned()),
            ..KnownQuestion::default()
        }
    }

    fn reply(text: &str) -> Reply {
        Reply { text: text.to_owned(), total_us: 2_500, ..Reply::default() }
    }

    /// An arm that reads documents, of which nothing else is known.
    const READS: Scored = Scored { reads_documents: true, footprint: None };

    #[track_caller]
    fn check(scores: Scores, metric: Metric, expected: Option<f64>) {
        let found = scores.get(metric);
        let same = match (found, expected) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        };
        assert!(same, "{}: {found:?} is not {expected:?}", metric.as_str());
    }

    #[test]
    fn an_answer_in_other_words_is_right_when_its_figures_are() {
        let of = |text| Scores::of(&known(&["three days per week"]), &reply(text), READS);
        check(of("It is three days per week."), Metric::Right, Some(1.0));
        check(of("It is three days per week."), Metric::Contains, Some(1.0));
        check(of("3 days a week are allowed."), Metric::Right, Some(1.0));
        check(of("3 days a week are allowed."), Metric::Contains, Some(0.0));
        check(of("4 days a week are allowed."), Metric::Right, Some(0.0));
        check(of("4 days a week are allowed."), Metric::Facts, Some(0.5));
        check(of("There are 3 offices."), Metric::Right, Some(0.0));
    }

    #[test]
    fn rouge_l_is_the_longest_common_subsequence() {
        let words = |it: &str| it.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let of = |a, b| rouge_l(&words(a), &words(b));
        // Lin's example: `police killed gunman` and two answers of the same words.
        assert!((of("police kill gunman", "police killed gunman") - 2.0 / 3.0).abs() < 1e-12);
        assert!((of("gunman kill police", "police killed gunman") - 1.0 / 3.0).abs() < 1e-12);
        assert!((of("x y", "a b") - 0.0).abs() < 1e-12);
        assert!((of("a b c d", "a c") - 2.0 * 2.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn citations_are_measured_against_the_document_that_holds_the_answer() {
        let cites = |citations: &[usize]| Reply {
            sources: vec!["rh/remote.md".to_owned(), "it/other.md".to_owned()],
            sentences: vec![KeptSentence {
                text: String::new(),
                supported: true,
                citations: citations.to_vec(),
            }],
            ..reply("three days")
        };
        let of = |it: &Reply| Scores::of(&known(&["three days"]), it, READS);
        check(of(&cites(&[0, 1])), Metric::CitationPrecision, Some(0.5));
        check(of(&cites(&[0, 1])), Metric::CitationRecall, Some(1.0));
        check(of(&cites(&[1])), Metric::CitationRecall, Some(0.0));
        check(of(&cites(&[])), Metric::CitationPrecision, None);
        check(of(&cites(&[])), Metric::CitationRecall, Some(0.0));
        check(of(&cites(&[0])), Metric::Supported, Some(1.0));
        let alone = Scores::of(&known(&["three days"]), &reply("three days"), Scored::default());
        check(alone, Metric::CitationRecall, None);
        check(alone, Metric::Supported, None);
    }

    #[test]
    fn a_refusal_is_right_where_nothing_can_be_answered() {
        let refused = Reply { refused: true, ..reply("The documents do not say.") };
        let of = |answers: &[&str], it: &Reply| Scores::of(&known(answers), it, READS);
        check(of(&[], &refused), Metric::Right, Some(1.0));
        check(of(&[], &refused), Metric::Refusal, Some(1.0));
        check(of(&[], &refused), Metric::F1, None);
        check(of(&["three days"], &refused), Metric::Right, Some(0.0));
        check(of(&["three days"], &refused), Metric::Refusal, Some(0.0));
        check(of(&["three days"], &refused), Metric::Supported, None);
        check(of(&[], &reply("It is three days.")), Metric::Right, Some(0.0));
    }

    #[test]
    fn another_language_than_the_question_s_is_wrong() {
        let of = |text| Scores::of(&known(&["three days"]), &reply(text), READS);
        let metric = Metric::RightLanguage;
        check(of("Employees may work from home on three days."), metric, Some(1.0));
        check(of("Les salariés peuvent travailler chez eux trois jours."), metric, Some(0.0));
        check(of("57"), metric, None);
        check(of("57"), Metric::Total, Some(2.5));
    }

    #[test]
    fn memory_is_that_of_weights_and_of_the_tokens_that_were_read_and_written() {
        let footprint = Some(Footprint { weights_bytes: 3_000_000, token_bytes: 10_000 });
        let arm = Scored { reads_documents: true, footprint };
        let written = Reply { n_prompt_tokens: 80, n_tokens: 20, ..reply("three days") };
        let of = |it: &Reply, arm| Scores::of(&known(&["three days"]), it, arm);
        check(of(&written, arm), Metric::Memory, Some(4.0));
        // What refuses without asking the model holds the weights all the same.
        check(of(&reply("No."), arm), Metric::Memory, Some(3.0));
        check(of(&written, READS), Metric::Memory, None);
    }

    #[test]
    fn sentences_without_a_figure_are_right_in_their_own_words_only() {
        let of = |answers: &[&str]| is_word_for_word(&known(answers));
        assert!(of(&["The company lends a screen and a chair to everybody."]));
        assert!(!of(&["The company lends a screen and a chair to everybody.", "a screen"]));
        assert!(!of(&["Employees may work from home for three days per week."]), "a figure");
        assert!(!of(&["a screen and a chair"]));
        assert!(!of(&[]));
    }

    #[test]
    fn names_lead_back_to_metrics() {
        for (i, it) in Metric::ALL.into_iter().enumerate() {
            assert_eq!((Metric::named(it.as_str()), it as usize), (Some(it), i));
        }
    }
}
