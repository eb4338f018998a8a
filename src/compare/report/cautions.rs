//! What a verdict must not be read without.

use ingest::document::Language;

use super::{
    super::verdict::{ArmLine, Case},
    words::Words,
};

impl Words {
    /// A sentence for each thing that lessens what the figures say.
    pub(super) fn cautions(self, case: &Case<'_>) -> Vec<String> {
        let mut res = Vec::new();
        for it in case.arms.iter().filter(|it| it.n_quoted > 0) {
            res.push(self.quotes(it));
        }
        for it in case.arms.iter().filter(|it| it.n_seen > 0) {
            res.push(self.seen(it));
        }
        for it in case.arms.iter().filter(|it| it.n_outdated > 0) {
            res.push(self.outdated(it));
        }
        if case.n_generated > 0 {
            res.push(self.generated(case.n_generated));
        }
        res
    }

    fn quotes(self, it: &ArmLine<'_>) -> String {
        let (label, n) = (it.label, it.n_quoted);
        match self.language {
            Language::English => {
                format!("`{label}` quotes in {n} answers: its model does not write their language.")
            }
            Language::French => format!(
                "`{label}` cite les documents dans {n} réponses : son modèle n'écrit pas leur \
                 langue."
            ),
        }
    }

    fn seen(self, it: &ArmLine<'_>) -> String {
        let (label, n) = (it.label, it.n_seen);
        match self.language {
            Language::English => format!(
                "{n} questions are about documents that `{label}` was trained on: its figures \
                 flatter."
            ),
            Language::French => format!(
                "{n} questions portent sur des documents dont `{label}` a été affinée : ses \
                 chiffres la flattent."
            ),
        }
    }

    fn outdated(self, it: &ArmLine<'_>) -> String {
        let (label, n, of) = (it.label, it.n_outdated, it.n_changed);
        match self.language {
            Language::English => format!(
                "`{label}` still says what was right before in {n} of {of} questions whose answer \
                 has changed."
            ),
            Language::French => format!(
                "`{label}` dit encore ce qui était juste avant dans {n} des {of} questions dont la \
                 réponse a changé."
            ),
        }
    }

    fn generated(self, n: usize) -> String {
        match (self.language, n) {
            (Language::English, 1) => {
                "1 question was written by a language model: people may ask otherwise.".to_owned()
            }
            (Language::English, _) => {
                format!("{n} questions were written by a language model: people may ask otherwise.")
            }
            (Language::French, 1) => "1 question a été écrite par un modèle de langue : on en \
                 poserait peut-être d'autres."
                .to_owned(),
            (Language::French, _) => format!(
                "{n} questions ont été écrites par un modèle de langue : on en poserait peut-être \
                 d'autres."
            ),
        }
    }
}
