//! What arms cost: time, memory, training, what training forgot, and what it learned that has changed.

use ingest::document::Language;
use tune::train::ability::Change;

use super::{
    super::{
        result::{ArmResult, Comparison},
        trained::Trained,
        verdict::Case,
    },
    words::Words,
};
use crate::stale::Stale;

impl Words {
    /// Bytes, for people.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> String {
        let megabytes = bytes as f64 / 1e6;
        match megabytes {
            it if it < 1_000.0 => {
                let digits = usize::from(it < 10.0);
                format!("{}\u{a0}{}", self.number(it, digits), self.pick("MB", "Mo"))
            }
            it => format!("{}\u{a0}{}", self.number(it / 1e3, 1), self.pick("GB", "Go")),
        }
    }

    /// A sentence for each thing that arms cost.
    pub(super) fn costs(self, case: &Case<'_>) -> Vec<String> {
        let mut res = vec![self.times(case)];
        res.extend(self.memory(case));
        for (labels, trained) in case.adapters() {
            let labels = self.quoted(&labels);
            res.push(self.forgetting(&labels, trained.ability.as_ref()));
            res.extend(trained.stale.as_ref().map(|it| self.staleness(&labels, it)));
        }
        res
    }

    fn times(self, case: &Case<'_>) -> String {
        let each = case.arms.iter().map(|it| {
            let training = self.training(it.trained);
            let training = training.map_or(String::new(), |it| format!(" ({it})"));
            format!("`{}` {}{training}", it.label, self.seconds(it.seconds))
        });
        let text = self.pick("Median time of an answer:", "Temps médian d'une réponse :");
        format!("{text} {}.", each.collect::<Vec<_>>().join(", "))
    }

    fn training(self, it: &Trained) -> Option<String> {
        let minutes = self.number(it.seconds? / 60.0, 1);
        let memory = it.peak_bytes.map_or(String::new(), |bytes| {
            let bytes = self.bytes(bytes);
            match self.language {
                Language::English => format!(" with {bytes} at most"),
                Language::French => format!(", {bytes} au plus"),
            }
        });
        let text = self.pick("trained in", "affinée en");
        Some(format!("{text} {minutes} min{memory}"))
    }

    fn memory(self, case: &Case<'_>) -> Option<String> {
        let each = case
            .arms
            .iter()
            .filter_map(|it| Some(format!("`{}` {}", it.label, self.bytes(it.memory_bytes?))));
        let each: Vec<String> = each.collect();
        let text = self.pick(
            "Memory for the largest answer, computed:",
            "Mémoire pour la plus grande réponse, calculée :",
        );
        (!each.is_empty()).then(|| format!("{text} {}.", each.join(", ")))
    }

    /// What an adapter did to what has nothing to do with its rows.
    fn forgetting(self, labels: &str, ability: Option<&Change>) -> String {
        let title = self.pick("Forgetting", "Oubli");
        let colon = self.pick(":", " :");
        let Some(it) = ability else {
            let text = self.pick("not measured", "non mesuré");
            return format!("{title} ({labels}){colon} {text}.");
        };
        let figures = self.ability(it);
        let verdict = match it.is_drop() {
            true => self.pick("its general ability dropped", "ses capacités générales ont baissé"),
            false => {
                self.pick("its general ability is kept", "ses capacités générales se maintiennent")
            }
        };
        format!("{title} ({labels}){colon} {figures}{} {verdict}.", self.pick(";", " ;"))
    }

    /// A general sample before and after.
    fn ability(self, it: &Change) -> String {
        let (before, after) = (it.before.all, it.after.all);
        let (from, to) = (self.number(before.perplexity, 1), self.number(after.perplexity, 1));
        let (n_before, n_after, n) = (before.n_right, after.n_right, before.n_questions);
        match self.language {
            Language::English => format!(
                "perplexity of general texts {from} → {to}, right answers {n_before} → {n_after} \
                 of {n}"
            ),
            Language::French => format!(
                "perplexité de textes généraux {from} → {to}, réponses justes {n_before} → \
                 {n_after} sur {n}"
            ),
        }
    }

    /// Whether an adapter's documents are still what it was trained on.
    fn staleness(self, labels: &str, it: &Stale) -> String {
        let (n, n_changed, n_deleted) = (it.n_documents, it.changed.len(), it.deleted.len());
        match (self.language, it.is_fresh()) {
            (Language::English, true) => {
                format!("Staleness ({labels}): the documents of its training ({n}) did not change.")
            }
            (Language::French, true) => {
                format!(
                    "Fraîcheur ({labels}) : les documents de son affinage ({n}) sont inchangés."
                )
            }
            (Language::English, false) => format!(
                "Staleness ({labels}): of the documents of its training ({n}) {n_changed} changed \
                 and {n_deleted} went; train it again, or answer from the documents."
            ),
            (Language::French, false) => format!(
                "Fraîcheur ({labels}) : parmi les documents de son affinage ({n}), modifiés : \
                 {n_changed}, disparus : {n_deleted} ; affinez de nouveau, ou répondez d'après les \
                 documents."
            ),
        }
    }
}

/// What a cell of a table is made of.
type Cell<'a> = &'a dyn Fn(&ArmResult) -> String;

/// Lines of a table about the arms beside their scores: a name, and a cell for each arm.
pub(super) fn facts(it: &Comparison, words: Words) -> Vec<(String, Vec<String>)> {
    let none = || "–".to_owned();
    let wrote = |it: &ArmResult| {
        let each = it.generators.iter().map(|(name, n)| format!("{name}: {n}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let bytes = |it: Option<u64>| it.map_or_else(none, |it| words.bytes(it));
    let training = |it: &ArmResult| words.training(&it.trained).unwrap_or_else(none);
    let ability = |it: &ArmResult| {
        let ability = it.trained.ability.as_ref();
        ability.map_or_else(none, |it| words.ability(it))
    };
    let stale = |it: &ArmResult| {
        let count = |it: &Stale| {
            format!("{} + {} / {}", it.changed.len(), it.deleted.len(), it.n_documents)
        };
        it.trained.stale.as_ref().map_or_else(none, count)
    };
    let rows: [(&str, Cell<'_>); 7] = [
        (words.pick("written by", "écrites par"), &wrote),
        (words.pick("weights on disk", "poids sur disque"), &|it| {
            bytes(it.footprint.map(|it| it.weights_bytes))
        }),
        (
            words.pick("memory for the largest answer", "mémoire pour la plus grande réponse"),
            &|it| bytes(it.memory_bytes),
        ),
        (words.pick("cut at the limit of tokens", "coupées à la limite de jetons"), &|it| {
            it.n_truncated.to_string()
        }),
        (words.pick("training", "affinage"), &training),
        (words.pick("general ability", "capacités générales"), &ability),
        (
            words.pick(
                "documents of training: changed + gone / all",
                "documents de l'affinage : modifiés + disparus / tous",
            ),
            &stale,
        ),
    ];
    let rows = rows.into_iter().map(|(name, cell)| {
        let cells: Vec<String> = it.arms.iter().map(cell).collect();
        (name.to_owned(), cells)
    });
    // What no arm has is no line.
    rows.filter(|(_, cells)| cells.iter().any(|it| *it != "–" && !it.is_empty())).collect()
}
