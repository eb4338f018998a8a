//! A comparison in words, in French and English.

use ingest::document::Language;

use super::super::{
    result::{Pair, Slice},
    scores::Metric,
    stats::{Outcome, QUESTIONS_MIN},
    verdict::{Case, Decision, margin_points},
};
use crate::eval::{answers::Maker, metrics::Mean};

/// Says things in a language.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The language.
    pub language: Language,
}

impl Words {
    /// One of two texts.
    #[must_use]
    pub fn pick<'a>(self, english: &'a str, french: &'a str) -> &'a str {
        match self.language {
            Language::English => english,
            Language::French => french,
        }
    }

    /// A number with so many digits behind the point, or the comma.
    #[must_use]
    pub fn number(self, value: f64, digits: usize) -> String {
        let rounded = format!("{value:.digits$}");
        // Nobody reads a difference into `-0.0`.
        let is_zero = !rounded.contains(|c: char| ('1'..='9').contains(&c));
        let text = if is_zero { rounded.trim_start_matches('-') } else { &rounded };
        match self.language {
            Language::English => text.to_owned(),
            Language::French => text.replace('.', ","),
        }
    }

    /// A share in percent.
    #[must_use]
    pub fn percent(self, share: f64) -> String {
        format!("{}{}", self.number(100.0 * share, 0), self.pick("%", "\u{a0}%"))
    }

    /// Seconds.
    #[must_use]
    pub fn seconds(self, seconds: f64) -> String {
        let digits = if seconds < 0.095 { 2 } else { 1 };
        format!("{}\u{a0}s", self.number(seconds, digits))
    }

    /// A difference of shares in points, with its interval and sign.
    #[must_use]
    pub fn points(self, mean: &Mean) -> String {
        let of = |it: f64| self.number(100.0 * it, 1);
        format!(
            "{} points [{}{} {}]",
            of(mean.value),
            of(mean.low),
            self.pick(",", " ;"),
            of(mean.high)
        )
    }

    /// A probability in a sentence.
    #[must_use]
    pub fn probability(self, p: f64) -> String {
        let sign = if p < 0.001 { "" } else { "= " };
        format!("p {sign}{}", self.p_value(p))
    }

    /// A probability in a table.
    #[must_use]
    pub fn p_value(self, p: f64) -> String {
        if p < 0.001 { format!("< {}", self.number(0.001, 3)) } else { self.number(p, 3) }
    }

    /// Names in quotes, one after another.
    pub(super) fn quoted(self, labels: &[&str]) -> String {
        labels.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
    }

    /// Names in quotes, joined in a sentence.
    pub(super) fn names(self, labels: &[&str]) -> String {
        let quoted: Vec<String> = labels.iter().map(|it| format!("`{it}`")).collect();
        match quoted.split_last() {
            Some((last, rest)) if !rest.is_empty() => {
                format!("{} {} {last}", rest.join(", "), self.pick("and", "et"))
            }
            _ => quoted.concat(),
        }
    }

    /// The verdict, whole.
    pub(in super::super) fn paragraph(self, case: &Case<'_>, decision: &Decision) -> String {
        let mut res = vec![self.decision(case, decision)];
        if !matches!(decision, Decision::TooFew | Decision::OneArm | Decision::Same(_)) {
            res.extend(self.worse(case, decision));
            res.extend(self.tuning(case));
        }
        res.extend(self.refusals(case));
        res.extend(self.costs(case));
        res.extend(self.cautions(case));
        res.join(" ")
    }

    fn decision(self, case: &Case<'_>, decision: &Decision) -> String {
        let label = |it: usize| case.arms[it].label;
        let time = |it: usize| self.seconds(case.arms[it].seconds);
        let n = case.n_questions;
        match decision {
            Decision::OneArm => self
                .pick(
                    "There is one arm, and nothing to compare it with.",
                    "Il n'y a qu'une variante, et rien à quoi la comparer.",
                )
                .to_owned(),
            Decision::TooFew => match self.language {
                Language::English => format!(
                    "Nothing can be concluded: {n} question{} were asked, and at least \
                     {QUESTIONS_MIN} are needed.",
                    if n == 1 { "" } else { "s" }
                )
                .replace("1 question were", "1 question was"),
                Language::French => format!(
                    "Rien ne peut être conclu : {n} question{s} posée{s}, il en faut au moins \
                     {QUESTIONS_MIN}.",
                    s = if n == 1 { "" } else { "s" }
                ),
            },
            Decision::Same(quickest) => {
                let all: Vec<&str> = case.arms.iter().map(|it| it.label).collect();
                let (all, quickest, time) = (self.names(&all), label(*quickest), time(*quickest));
                match self.language {
                    Language::English => format!(
                        "No difference: {all} gave the same answers to all {n} questions. Take \
                         the quickest, `{quickest}` ({time} an answer)."
                    ),
                    Language::French => format!(
                        "Aucune différence : {all} donnent les mêmes réponses aux {n} questions. \
                         Prenez la plus rapide, `{quickest}` ({time} par réponse)."
                    ),
                }
            }
            Decision::Best(best) => self.best(case, *best),
            Decision::Alike(them) => {
                let names: Vec<&str> = them.iter().map(|it| label(*it)).collect();
                let (names, margin) = (self.names(&names), self.number(margin_points(), 0));
                let (quickest, time) = (label(them[0]), time(them[0]));
                match self.language {
                    Language::English => format!(
                        "{names} are as good as each other: their right answers differ by less \
                         than {margin} points. Take the quickest, `{quickest}` ({time} an answer)."
                    ),
                    Language::French => format!(
                        "{names} se valent : leurs réponses justes diffèrent de moins de {margin} \
                         points. Prenez la plus rapide, `{quickest}` ({time} par réponse)."
                    ),
                }
            }
            Decision::CannotTell(them) => self.cannot_tell(case, them),
        }
    }

    /// The best arm against the next one.
    fn best(self, case: &Case<'_>, best: usize) -> String {
        let others = (0..case.arms.len()).filter(|it| *it != best);
        let next =
            others.reduce(|a, b| if case.arms[b].right > case.arms[a].right { b } else { a });
        let next = next.unwrap_or(best);
        let Some((pair, turned)) = case.pair(next, best, Metric::Right) else {
            return String::new();
        };
        let (difference, p) = (oriented(pair, turned), self.probability(pair.p_holm));
        let (mine, its) = (&case.arms[best], &case.arms[next]);
        let (right, other) = (self.percent(mine.right), self.percent(its.right));
        let points = self.points(&difference);
        match self.language {
            Language::English => format!(
                "`{}` is best: {right} of its answers are right, against {other} of `{}`. The \
                 difference of {points} is more than chance explains ({p}).",
                mine.label, its.label
            ),
            Language::French => format!(
                "`{}` est la meilleure : {right} de ses réponses sont justes, contre {other} pour \
                 `{}`. L'écart de {points} dépasse ce que le hasard explique ({p}).",
                mine.label, its.label
            ),
        }
    }

    /// The leader against the one that may be as good.
    fn cannot_tell(self, case: &Case<'_>, them: &[usize]) -> String {
        let (lead, next) = (them[0], them[1..].iter().copied());
        let next = next.reduce(|a, b| if case.arms[b].right > case.arms[a].right { b } else { a });
        let next = next.unwrap_or(lead);
        let names: Vec<&str> = them.iter().map(|it| case.arms[*it].label).collect();
        let mut res = match self.language {
            Language::English => {
                format!("It cannot be told which of {} is best.", self.names(&names))
            }
            Language::French => {
                format!(
                    "Rien ne permet de dire laquelle de {} est la meilleure.",
                    self.names(&names)
                )
            }
        };
        if let Some((pair, turned)) = case.pair(next, lead, Metric::Right) {
            res.push(' ');
            res.push_str(&self.noise(case, (next, lead), &oriented(pair, turned), pair));
        }
        res
    }

    /// A difference that may be chance, and what would settle it.
    fn noise(
        self,
        case: &Case<'_>,
        (next, lead): (usize, usize),
        difference: &Mean,
        pair: &Pair,
    ) -> String {
        let (mine, its) = (case.arms[lead].label, case.arms[next].label);
        let points = self.points(difference);
        let mut res = match self.language {
            Language::English => {
                format!("`{mine}` leads `{its}` by {points}, which is within noise")
            }
            Language::French => {
                format!("`{mine}` devance `{its}` de {points}, ce qui tient du bruit")
            }
        };
        res.push_str(&self.settles(pair));
        res.push('.');
        res
    }

    /// What would settle a difference that may be chance: more questions, or else what these show.
    fn settles(self, pair: &Pair) -> String {
        let it = &pair.difference;
        if let Some(more) = it.more_questions.filter(|it| *it > 0) {
            return match self.language {
                Language::English => format!("; {more} more questions like these would settle it"),
                Language::French => {
                    format!(" ; {more} questions de plus, semblables, trancheraient")
                }
            };
        }
        let Some(detectable) = it.detectable else { return String::new() };
        let (n, points) = (it.n, self.number(100.0 * detectable, 0));
        match self.language {
            Language::English => {
                format!("; {n} questions show differences from about {points} points")
            }
            Language::French => {
                format!(" ; {n} questions montrent des écarts d'environ {points} points au moins")
            }
        }
    }

    /// Arms that are shown to be worse than the leader.
    fn worse(self, case: &Case<'_>, decision: &Decision) -> Option<String> {
        let left = decision.arms();
        if matches!(decision, Decision::Best(_)) && case.arms.len() == 2 {
            return None;
        }
        let worse: Vec<String> = (0..case.arms.len())
            .filter(|it| !left.contains(it))
            .map(|it| {
                let arm = &case.arms[it];
                format!("`{}` ({})", arm.label, self.percent(arm.right))
            })
            .collect();
        (!worse.is_empty()).then(|| {
            let worse = worse.join(", ");
            let text = self.pick("Shown to be worse:", "Nettement moins bonnes :");
            format!("{text} {worse}.")
        })
    }

    /// What fine-tuning brings beside retrieval.
    fn tuning(self, case: &Case<'_>) -> Option<String> {
        let it = case.tuning()?;
        let (rag, tuned) = (case.arms[it.rag].label, case.arms[it.tuned].label);
        let (pair, turned) = case.pair(it.rag, it.tuned, Metric::Right)?;
        let points = self.points(&oriented(pair, turned));
        // Arms that are alike need no more questions.
        let settles = match it.outcome {
            Outcome::CannotTell => self.settles(pair),
            _ => String::new(),
        };
        Some(match (it.outcome, it.changes_form, self.language) {
            (Outcome::Better, _, Language::English) => {
                format!("Fine-tuning pays: `{tuned}` has {points} more right than `{rag}`.")
            }
            (Outcome::Better, _, Language::French) => format!(
                "L'affinage paie : `{tuned}` a {points} de réponses justes de plus que `{rag}`."
            ),
            (Outcome::Worse, _, Language::English) => {
                format!("RAG suffices: `{tuned}` differs from `{rag}` by {points}, for the worse.")
            }
            (Outcome::Worse, _, Language::French) => {
                format!("Le RAG suffit : `{tuned}` s'écarte de `{rag}` de {points}, en moins bien.")
            }
            (_, true, Language::English) => format!(
                "RAG suffices so far: `{tuned}` changes form (F1), not facts; its difference of \
                 {points} to `{rag}` is within noise{settles}."
            ),
            (_, true, Language::French) => format!(
                "Le RAG suffit jusqu'ici : `{tuned}` change la forme (F1), pas les faits ; son \
                 écart de {points} avec `{rag}` tient du bruit{settles}."
            ),
            (_, false, Language::English) => format!(
                "Nothing shows that fine-tuning is worth its cost: `{tuned}` differs from `{rag}` \
                 by {points}{settles}."
            ),
            (_, false, Language::French) => format!(
                "Rien ne montre que l'affinage vaille son coût : `{tuned}` s'écarte de `{rag}` de \
                 {points}{settles}."
            ),
        })
    }

    fn refusals(self, case: &Case<'_>) -> Option<String> {
        if !case.tells_refusals() {
            return None;
        }
        let each = case.arms.iter().map(|it| format!("`{}` {}", it.label, it.n_refused));
        let each = each.collect::<Vec<_>>().join(", ");
        let n = case.arms.first()?.n_unanswerable;
        Some(match self.language {
            Language::English => {
                format!("Of {n} questions that the documents do not answer, refused: {each}.")
            }
            Language::French => {
                format!("Des {n} questions sans réponse dans les documents, refusées : {each}.")
            }
        })
    }

    /// What an outcome says of the second of two arms.
    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Same => self.pick("the same answers", "mêmes réponses"),
            Outcome::Alike => self.pick("alike", "équivalentes"),
            Outcome::Better => self.pick("better", "meilleure"),
            Outcome::Worse => self.pick("worse", "moins bonne"),
            Outcome::CannotTell => self.pick("cannot tell", "indécidable"),
        }
    }

    /// A metric, for people.
    #[must_use]
    pub fn metric(self, metric: Metric) -> &'static str {
        match metric {
            Metric::Right => self.pick("right answers", "réponses justes"),
            Metric::ExactMatch => self.pick("exact match", "correspondance exacte"),
            Metric::F1 => self.pick("F1 of words", "F1 des mots"),
            Metric::Contains => self.pick("contains the answer", "contient la réponse"),
            Metric::RougeL => "ROUGE-L",
            Metric::Facts => self.pick("figures and dates", "chiffres et dates"),
            Metric::CitationPrecision => self.pick("citation precision", "précision des citations"),
            Metric::CitationRecall => self.pick("citation recall", "rappel des citations"),
            Metric::Supported => self.pick("supported sentences", "phrases étayées"),
            Metric::Refusal => self.pick("refuses when it should", "refuse à bon escient"),
            Metric::RightLanguage => self.pick("right language", "bonne langue"),
            Metric::Words => self.pick("words", "mots"),
            Metric::Tokens => self.pick("tokens", "jetons"),
            Metric::FirstToken => self.pick("first piece, ms", "premier morceau, ms"),
            Metric::Total => self.pick("whole answer, ms", "réponse entière, ms"),
            Metric::Memory => self.pick("memory, computed, MB", "mémoire, calculée, Mo"),
        }
    }

    /// How figures are to be read.
    #[must_use]
    pub fn intervals(self) -> &'static str {
        self.pick(
            "Means over questions; in brackets 95 % intervals: Wilson's and Tango's where answers are \
             right or wrong, by bootstrap otherwise.",
            "Moyennes sur les questions ; entre crochets, intervalles à 95 % : de Wilson et de Tango \
             pour ce qui est juste ou faux, par bootstrap sinon.",
        )
    }

    /// Who made a question, as a mark beside it.
    #[must_use]
    pub fn maker(self, it: Maker) -> &'static str {
        match it {
            Maker::Model => self.pick("written by a model", "écrite par un modèle"),
            Maker::Rules => self.pick("made by rules", "tirée par des règles"),
        }
    }

    /// What stands before an arm that was trained on a question's document.
    #[must_use]
    pub fn trained_on(self) -> &'static str {
        self.pick("trained on its document:", "affinée de son document :")
    }

    /// A kind of questions, for people: what sorts them, and which of them.
    #[must_use]
    pub fn slice(self, it: &Slice) -> String {
        let by = match it.by {
            "answerable" => self.pick("has an answer", "a une réponse"),
            "language" => self.pick("language", "langue"),
            "type" => self.pick("type", "type"),
            "document" => self.pick("document", "document"),
            "outdated" => self.pick("has changed", "a changé"),
            other => other,
        };
        // Languages, types and endings are named as files name them.
        let value = match (it.by, it.value.as_str()) {
            ("answerable" | "outdated", "yes") => self.pick("yes", "oui"),
            ("answerable" | "outdated", "no") => self.pick("no", "non"),
            ("document", "other") => self.pick("other", "autre"),
            (_, value) => value,
        };
        format!("{by}{} {value}", self.pick(":", " :"))
    }
}

/// A pair's mean, the other way round where `turned`.
fn oriented(pair: &Pair, turned: bool) -> Mean {
    let it = pair.difference.mean;
    if turned { Mean { value: -it.value, low: -it.high, high: -it.low } } else { it }
}
