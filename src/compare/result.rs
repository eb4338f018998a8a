//! Answers to figures: what each arm is worth, how each pair differs, where, and what follows.

use std::collections::BTreeMap;

use super::{
    arms::{Arm, Way},
    judge::Judged,
    kept::Reply,
    questions::Questions,
    scores::{Better, Footprint, Metric, Scored, Scores, is_word_for_word},
    stats::{ALPHA, Difference, Judge, Outcome, holm, mean_of},
    trained::Trained,
    verdict::{ArmLine, Case, Verdict, verdict},
};
use crate::eval::{
    answers::{KnownQuestion, Maker, score},
    metrics::{Mean, quantile},
};

/// Shares that differ by less are alike for whoever must choose.
pub const MARGIN: f64 = 0.05;

/// All that a report says.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The questions.
    pub questions: Vec<KnownQuestion>,
    /// Questions of their source that were not asked, because words alone do not tell whether an
    /// answer to them is right.
    pub n_left_out: usize,
    /// The arms.
    pub arms: Vec<ArmResult>,
    /// The answers to each question, in the order of the arms.
    pub replies: Vec<Vec<Reply>>,
    /// What they are worth.
    pub scores: Vec<Vec<Scores>>,
    /// Each arm with each later one, by metric.
    pub pairs: Vec<Pair>,
    /// Shares of right answers by kind of question.
    pub slices: Vec<Slice>,
    /// What a judge prefers, where one was asked. The verdict does not rest on it.
    pub judged: Option<Judged>,
    /// What follows.
    pub verdict: Verdict,
}

/// What an arm is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmResult {
    /// The arm.
    pub arm: Arm,
    /// What is known of its adapter's training.
    pub trained: Trained,
    /// Each metric that some answer has: on how many, and its mean with a 95 % interval.
    pub means: Vec<(Metric, usize, Mean)>,
    /// Median milliseconds to the first piece of an answer.
    pub first_ms: f64,
    /// Median milliseconds of an answer, and the time that nine in ten need at most.
    pub total_ms: (f64, f64),
    /// What wrote how many answers; refusals without a model are under no name.
    pub generators: BTreeMap<String, usize>,
    /// Answers that quote where a model should have written.
    pub n_quoted: usize,
    /// Answers that hit the limit of tokens.
    pub n_truncated: usize,
    /// Of the questions without an answer, how many it refuses.
    pub n_refused: usize,
    /// Questions whose document its adapter was trained on.
    pub n_seen: usize,
    /// Of the questions whose answer has changed, those to which it still says the old one.
    pub n_outdated: usize,
    /// What it keeps in memory; `None` where a server writes.
    pub footprint: Option<Footprint>,
    /// Bytes that its largest answer needs, by that.
    pub memory_bytes: Option<u64>,
}

impl ArmResult {
    /// Whether its adapter was trained on the document of a question.
    #[must_use]
    pub fn was_trained_on(&self, known: &KnownQuestion) -> bool {
        self.trained.saw(known)
    }

    /// The mean of a metric.
    #[must_use]
    pub fn mean(&self, metric: Metric) -> Option<Mean> {
        self.means.iter().find(|it| it.0 == metric).map(|it| it.2)
    }
}

/// Two arms and a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The first arm.
    pub a: usize,
    /// The second one, later than the first.
    pub b: usize,
    /// What is compared.
    pub metric: Metric,
    /// Second minus first.
    pub difference: Difference,
    /// Its probability, corrected for the number of pairs.
    pub p_holm: f64,
    /// What is said of the second.
    pub outcome: Outcome,
}

/// A kind of questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// What sorts them.
    pub by: &'static str,
    /// Which of them.
    pub value: String,
    /// How many.
    pub n: usize,
    /// The share that each arm has right.
    pub right: Vec<Mean>,
}

/// An arm, and what is known of it before it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Entrant {
    /// The arm.
    pub arm: Arm,
    /// What is known of its adapter's training.
    pub trained: Trained,
    /// What it keeps in memory; `None` where a server writes.
    pub footprint: Option<Footprint>,
}

/// Compares arms by their answers to each question (in the order of the arms).
///
/// # Panics
/// When there is not one answer of each arm to each question.
#[must_use]
pub fn compare(arms: Vec<Entrant>, questions: Questions, replies: Vec<Vec<Reply>>) -> Comparison {
    let Questions { asked: questions, n_left_out } = questions;
    assert_eq!(questions.len(), replies.len(), "each question has its answers");
    assert!(replies.iter().all(|it| it.len() == arms.len()), "each arm has answered");
    let of_question = |(known, replies): (&KnownQuestion, &Vec<Reply>)| {
        let each = replies.iter().zip(&arms);
        let scored = |it: &Entrant| Scored {
            reads_documents: it.arm.reads_documents(),
            footprint: it.footprint,
        };
        each.map(|(reply, arm)| Scores::of(known, reply, scored(arm))).collect()
    };
    let scores: Vec<Vec<Scores>> = questions.iter().zip(&replies).map(of_question).collect();
    let arms: Vec<ArmResult> = arms
        .into_iter()
        .enumerate()
        .map(|(i, arm)| {
            let replies: Vec<&Reply> = replies.iter().map(|it| &it[i]).collect();
            let scores: Vec<Scores> = scores.iter().map(|it| it[i]).collect();
            arm_result(arm, &questions, &replies, &scores)
        })
        .collect();
    let pairs = pairs(arms.len(), &replies, &scores);
    let slices = slices(&questions, &scores);
    let n_unanswerable = questions.iter().filter(|it| it.answers.is_empty()).count();
    let n_changed = questions.iter().filter(|it| !it.outdated.is_empty()).count();
    let lines: Vec<ArmLine<'_>> =
        arms.iter().map(|it| line(it, n_unanswerable, n_changed)).collect();
    let count = |of: &dyn Fn(&KnownQuestion) -> bool| questions.iter().filter(|it| of(it)).count();
    let verdict = verdict(&Case {
        n_questions: questions.len(),
        n_by_model: count(&|it| it.generated == Some(Maker::Model)),
        n_by_rules: count(&|it| it.generated == Some(Maker::Rules)),
        n_approved: count(&|it| it.approved),
        n_word_for_word: count(&is_word_for_word),
        n_left_out,
        arms: &lines,
        pairs: &pairs,
    });
    Comparison {
        questions,
        n_left_out,
        arms,
        replies,
        scores,
        pairs,
        slices,
        judged: None,
        verdict,
    }
}

fn line(it: &ArmResult, n_unanswerable: usize, n_changed: usize) -> ArmLine<'_> {
    ArmLine {
        label: &it.arm.label,
        retrieves: it.arm.way == Way::Documents,
        adapter: it.arm.adapter.as_ref().map(|it| it.name.as_str()),
        trained: &it.trained,
        memory_bytes: it.memory_bytes,
        right: it.mean(Metric::Right).map_or(0.0, |it| it.value),
        seconds: it.total_ms.0 / 1000.0,
        first_seconds: it.first_ms / 1000.0,
        n_refused: it.n_refused,
        n_unanswerable,
        n_quoted: it.n_quoted,
        n_seen: it.n_seen,
        n_outdated: it.n_outdated,
        n_changed,
    }
}

fn arm_result(
    Entrant { arm, trained, footprint }: Entrant,
    questions: &[KnownQuestion],
    replies: &[&Reply],
    scores: &[Scores],
) -> ArmResult {
    let values = |metric| scores.iter().filter_map(|it| it.get(metric)).collect::<Vec<f64>>();
    let means = Metric::ALL.into_iter().filter_map(|metric| {
        let values = values(metric);
        mean_of(&values, metric.is_binary()).map(|mean| (metric, values.len(), mean))
    });
    let share = |metric, share| {
        let mut values = values(metric);
        values.sort_by(f64::total_cmp);
        if values.is_empty() { 0.0 } else { quantile(&values, share) }
    };
    let mut generators: BTreeMap<String, usize> = BTreeMap::new();
    for it in replies.iter().filter_map(|it| it.generator.clone()) {
        *generators.entry(it).or_default() += 1;
    }
    ArmResult {
        means: means.collect(),
        first_ms: share(Metric::FirstToken, 0.5),
        total_ms: (share(Metric::Total, 0.5), share(Metric::Total, 0.9)),
        generators,
        n_quoted: replies.iter().filter(|it| it.quoted).count(),
        n_truncated: replies.iter().filter(|it| it.truncated).count(),
        n_refused: (questions.iter().zip(replies))
            .filter(|(known, reply)| known.answers.is_empty() && reply.refused)
            .count(),
        n_seen: questions.iter().filter(|it| trained.saw(it)).count(),
        n_outdated: (questions.iter().zip(replies))
            .filter(|(known, reply)| says_outdated(known, reply))
            .count(),
        memory_bytes: replies.iter().filter_map(|it| Some(footprint?.bytes(it))).max(),
        footprint,
        arm,
        trained,
    }
}

/// Whether an answer says what was right before, and not what is right now.
fn says_outdated(known: &KnownQuestion, reply: &Reply) -> bool {
    let says = |of: &[String]| score(&reply.text, of).contains > 0.0;
    !reply.refused && says(&known.outdated) && !says(&known.answers)
}

/// Every two arms by every metric, probabilities corrected within each metric.
fn pairs(n_arms: usize, replies: &[Vec<Reply>], scores: &[Vec<Scores>]) -> Vec<Pair> {
    let mut res = Vec::new();
    for metric in Metric::ALL.into_iter().filter(|it| it.better() != Better::Neither) {
        let mut both = Vec::new();
        for a in 0..n_arms {
            for b in a + 1..n_arms {
                let values =
                    scores.iter().filter_map(|it| it[a].get(metric).zip(it[b].get(metric)));
                let values: (Vec<f64>, Vec<f64>) = values.unzip();
                if !values.0.is_empty() {
                    both.push((a, b, values));
                }
            }
        }
        // What shows, and what more questions would show, is told at the level that a pair is judged
        // at when it is the most telling one of them.
        let level = ALPHA / both.len().max(1) as f64;
        let found: Vec<(usize, usize, Difference)> = both
            .into_iter()
            .filter_map(|(a, b, (first, second))| {
                let is_binary = metric.is_binary();
                Some((a, b, Difference::at_level(&first, &second, is_binary, level)?))
            })
            .collect();
        let corrected = holm(&found.iter().map(|it| it.2.p).collect::<Vec<f64>>());
        let higher_is_better = metric.better() == Better::Higher;
        let judge = Judge { margin: higher_is_better.then_some(MARGIN), higher_is_better };
        for ((a, b, difference), p_holm) in found.into_iter().zip(corrected) {
            let is_same = higher_is_better
                && replies.iter().all(|it| {
                    let of = |it: &Reply| (it.text.clone(), it.refused);
                    of(&it[a]) == of(&it[b])
                });
            let outcome = judge.outcome(&difference, p_holm, is_same);
            res.push(Pair { a, b, metric, difference, p_holm, outcome });
        }
    }
    res
}

/// What kind a question is of, where that is known.
type Sort<'a> = dyn Fn(&KnownQuestion) -> Option<String> + 'a;

/// Shares of right answers by what sorts the questions; what does not sort them is left out.
fn slices(questions: &[KnownQuestion], scores: &[Vec<Scores>]) -> Vec<Slice> {
    let of_document = |it: &KnownQuestion| {
        let path = it.document.as_deref()?;
        Some(path.rsplit_once('.').map_or("other", |(_, end)| end).to_lowercase())
    };
    let is_answerable =
        |it: &KnownQuestion| Some(if it.answers.is_empty() { "no" } else { "yes" }.to_owned());
    let has_changed =
        |it: &KnownQuestion| Some(if it.outdated.is_empty() { "no" } else { "yes" }.to_owned());
    let sorters: [(&'static str, &Sort<'_>); 5] = [
        ("answerable", &is_answerable),
        ("language", &|it| it.language.clone()),
        ("type", &|it| it.kind.clone()),
        ("document", &of_document),
        ("outdated", &has_changed),
    ];
    let mut res = Vec::new();
    for (by, sort) in sorters {
        let mut sorted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, it) in questions.iter().enumerate() {
            if let Some(value) = sort(it) {
                sorted.entry(value).or_default().push(i);
            }
        }
        if sorted.len() < 2 {
            continue;
        }
        for (value, of) in sorted {
            let n_arms = scores.first().map_or(0, Vec::len);
            let right = (0..n_arms).filter_map(|arm| {
                let values: Vec<f64> =
                    of.iter().filter_map(|i| scores[*i][arm].get(Metric::Right)).collect();
                mean_of(&values, Metric::Right.is_binary())
            });
            res.push(Slice { by, value, n: of.len(), right: right.collect() });
        }
    }
    res
}

impl Comparison {
    /// The pairs of a metric.
    pub fn pairs_by(&self, metric: Metric) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |it| it.metric == metric)
    }

    /// Questions that only one of two arms has right: those of the first, those of the second.
    #[must_use]
    pub fn flipped(&self, a: usize, b: usize) -> (Vec<usize>, Vec<usize>) {
        let right = |i: usize, arm: usize| self.scores[i][arm].get(Metric::Right) == Some(1.0);
        let only = |this: usize, other: usize| {
            (0..self.questions.len()).filter(|i| right(*i, this) && !right(*i, other)).collect()
        };
        (only(a, b), only(b, a))
    }
}
