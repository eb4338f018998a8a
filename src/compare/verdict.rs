//! Figures to one paragraph, by the rules that `docs/compare.md` states.

use ingest::document::Language;

use super::{
    result::{MARGIN, Pair},
    scores::Metric,
    stats::{Outcome, QUESTIONS_MIN},
    trained::Trained,
};

/// Questions without an answer that an arm's refusals are told of.
const UNANSWERABLE_MIN: usize = 5;

/// What rules look at of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmLine<'a> {
    /// What reports call it.
    pub label: &'a str,
    /// Whether its model writes from passages.
    pub retrieves: bool,
    /// The adapter of its model.
    pub adapter: Option<&'a str>,
    /// What that says of its training.
    pub trained: &'a Trained,
    /// Share of right answers.
    pub right: f64,
    /// Median seconds of an answer.
    pub seconds: f64,
    /// Median seconds to the first piece of it.
    pub first_seconds: f64,
    /// Bytes that its largest answer needs; `None` where a server writes.
    pub memory_bytes: Option<u64>,
    /// Questions without an answer that it refuses.
    pub n_refused: usize,
    /// Questions without an answer.
    pub n_unanswerable: usize,
    /// Answers that quote where a model should have written.
    pub n_quoted: usize,
    /// Questions whose document its adapter was trained on.
    pub n_seen: usize,
    /// Of the questions whose answer has changed, those to which it still says the old one.
    pub n_outdated: usize,
    /// Questions whose answer has changed.
    pub n_changed: usize,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Questions asked.
    pub n_questions: usize,
    /// Those that a language model wrote.
    pub n_by_model: usize,
    /// Those that rules made.
    pub n_by_rules: usize,
    /// Those whose accepted answer is one that a variant gave and somebody called good.
    pub n_approved: usize,
    /// Those to which only the very words that are accepted are right.
    pub n_word_for_word: usize,
    /// Questions of the source that were not asked.
    pub n_left_out: usize,
    /// The arms.
    pub arms: &'a [ArmLine<'a>],
    /// Their differences.
    pub pairs: &'a [Pair],
}

/// What follows from the right answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Too few questions for any conclusion.
    TooFew,
    /// There is nothing to compare with.
    OneArm,
    /// All arms gave the same answers. The quickest is named.
    Same(usize),
    /// One arm is better than every other.
    Best(usize),
    /// The arms that no other is better than are alike; the quickest of them first.
    Alike(Vec<usize>),
    /// The questions do not tell which of these is best; the one with most right answers first.
    CannotTell(Vec<usize>),
}

impl Decision {
    /// The words in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooFew => "too_few_questions",
            Self::OneArm => "one_arm",
            Self::Same(_) => "no_difference",
            Self::Best(_) => "best",
            Self::Alike(_) => "alike",
            Self::CannotTell(_) => "cannot_tell",
        }
    }

    /// The arms that it names: the best, those that are alike, or those that remain.
    #[must_use]
    pub fn arms(&self) -> Vec<usize> {
        match self {
            Self::TooFew | Self::OneArm => Vec::new(),
            Self::Same(it) | Self::Best(it) => vec![*it],
            Self::Alike(them) | Self::CannotTell(them) => them.clone(),
        }
    }
}

/// A decision and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What follows.
    pub decision: Decision,
    /// In English.
    pub english: String,
    /// In French.
    pub french: String,
}

impl Verdict {
    /// Its words in a language.
    #[must_use]
    pub fn text(&self, language: Language) -> &str {
        match language {
            Language::English => &self.english,
            Language::French => &self.french,
        }
    }
}

/// Applies the rules.
#[must_use]
pub fn verdict(case: &Case<'_>) -> Verdict {
    let decision = case.decide();
    let say = |language| {
        let words = super::report::words::Words { language };
        words.paragraph(case, &decision)
    };
    let (english, french) = (say(Language::English), say(Language::French));
    Verdict { decision, english, french }
}

impl Case<'_> {
    /// The decision on right answers.
    #[must_use]
    pub fn decide(&self) -> Decision {
        let n_arms = self.arms.len();
        if n_arms < 2 {
            return Decision::OneArm;
        }
        if self.n_questions < QUESTIONS_MIN {
            return Decision::TooFew;
        }
        let quickest = |of: &[usize]| {
            let mut of = of.to_vec();
            of.sort_by(|a, b| self.arms[*a].seconds.total_cmp(&self.arms[*b].seconds));
            of
        };
        let all: Vec<usize> = (0..n_arms).collect();
        let mut of_right = self.pairs.iter().filter(|it| it.metric == Metric::Right);
        if of_right.all(|it| it.outcome == Outcome::Same) {
            return Decision::Same(quickest(&all)[0]);
        }
        // Of arms with as many right answers, the first one leads.
        let lead = all
            .iter()
            .copied()
            .reduce(|best, it| if self.arms[it].right > self.arms[best].right { it } else { best });
        let lead = lead.unwrap_or(0);
        let left: Vec<usize> = all
            .into_iter()
            .filter(|it| *it == lead || self.outcome(lead, *it) != Some(Outcome::Worse))
            .collect();
        if left.len() == 1 {
            return Decision::Best(lead);
        }
        let others = left.iter().filter(|it| **it != lead);
        let is_close =
            |it: &usize| matches!(self.outcome(lead, *it), Some(Outcome::Alike | Outcome::Same));
        if others.clone().all(is_close) {
            return Decision::Alike(quickest(&left));
        }
        Decision::CannotTell([lead].into_iter().chain(others.copied()).collect())
    }

    /// The pair of two arms by a metric, and whether they stand in it the other way round.
    #[must_use]
    pub fn pair(&self, from: usize, to: usize, metric: Metric) -> Option<(&Pair, bool)> {
        let (a, b) = (from.min(to), from.max(to));
        let pair = self.pairs.iter().find(|it| (it.a, it.b, it.metric) == (a, b, metric))?;
        Some((pair, from > to))
    }

    /// What is said of the right answers of `to`, compared with those of `from`.
    fn outcome(&self, from: usize, to: usize) -> Option<Outcome> {
        let (pair, turned) = self.pair(from, to, Metric::Right)?;
        Some(match (pair.outcome, turned) {
            (Outcome::Better, true) => Outcome::Worse,
            (Outcome::Worse, true) => Outcome::Better,
            (it, _) => it,
        })
    }

    /// What fine-tuning brings beside retrieval: the arm that retrieves, one that is tuned, and
    /// what is said of it. Those with most right answers are looked at.
    #[must_use]
    pub fn tuning(&self) -> Option<Tuning> {
        let most = |of: &dyn Fn(&ArmLine<'_>) -> bool| {
            let fitting = (0..self.arms.len()).filter(|it| of(&self.arms[*it]));
            fitting.reduce(|a, b| if self.arms[b].right > self.arms[a].right { b } else { a })
        };
        let rag = most(&|it| it.retrieves && it.adapter.is_none())?;
        let tuned = most(&|it| it.adapter.is_some())?;
        let outcome = self.outcome(rag, tuned)?;
        let form = self.pair(rag, tuned, Metric::F1).map(|(it, _)| it.outcome);
        let changes_form = matches!(form, Some(Outcome::Better | Outcome::Worse));
        Some(Tuning { rag, tuned, outcome, changes_form })
    }

    /// Each adapter with the arms that write with it, in their order.
    #[must_use]
    pub fn adapters(&self) -> Vec<(Vec<&str>, &Trained)> {
        let mut res: Vec<(&str, Vec<&str>, &Trained)> = Vec::new();
        for arm in self.arms {
            let Some(name) = arm.adapter else { continue };
            match res.iter_mut().find(|it| it.0 == name) {
                Some((_, labels, _)) => labels.push(arm.label),
                None => res.push((name, vec![arm.label], arm.trained)),
            }
        }
        res.into_iter().map(|(_, labels, trained)| (labels, trained)).collect()
    }

    /// Whether refusals are worth a sentence.
    #[must_use]
    pub fn tells_refusals(&self) -> bool {
        self.arms.first().is_some_and(|it| it.n_unanswerable >= UNANSWERABLE_MIN)
    }
}

/// What fine-tuning brings beside retrieval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The arm that retrieves.
    pub rag: usize,
    /// The arm that is tuned.
    pub tuned: usize,
    /// What is said of its right answers.
    pub outcome: Outcome,
    /// Whether its words differ, by F1.
    pub changes_form: bool,
}

/// The margin in points.
#[must_use]
pub fn margin_points() -> f64 {
    MARGIN * 100.0
}
