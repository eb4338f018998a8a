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
        for (labels, trained) in case.adapters() {
            if !trained.tells_documents {
                res.push(self.untold(&labels));
            }
        }
        for it in case.arms.iter().filter(|it| it.n_outdated > 0) {
            res.push(self.outdated(it));
        }
        let of_questions: [(usize, &dyn Fn(usize) -> String); 5] = [
            (case.n_by_model, &|n| self.by_model(n)),
            (case.n_by_rules, &|n| self.by_rules(n)),
            (case.n_approved, &|n| self.approved(n)),
            (case.n_word_for_word, &|n| self.word_for_word(n)),
            (case.n_left_out, &|n| self.left_out(n)),
        ];
        for (n, say) in of_questions {
            if n > 0 {
                res.push(say(n));
            }
        }
        res
    }

    fn untold(self, labels: &[&str]) -> String {
        let names = self.names(labels);
        match (self.language, labels.len()) {
            (Language::English, 1) => {
                format!("{names} does not say what it was trained on: its figures may flatter.")
            }
            (Language::English, _) => {
                format!("{names} do not say what they were trained on: their figures may flatter.")
            }
            (Language::French, 1) => format!(
                "{names} ne dit pas de quoi elle a été affinée : ses chiffres la flattent peut-être."
            ),
            (Language::French, _) => format!(
                "{names} ne disent pas de quoi elles ont été affinées : leurs chiffres les flattent \
                 peut-être."
            ),
        }
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
        match (self.language, n) {
            (Language::English, 1) => format!(
                "1 question is about a document that `{label}` was trained on: its figures flatter."
            ),
            (Language::English, _) => format!(
                "{n} questions are about documents that `{label}` was trained on: its figures \
                 flatter."
            ),
            (Language::French, 1) => format!(
                "1 question porte sur un document dont `{label}` a été affinée : ses chiffres la \
                 flattent."
            ),
            (Language::French, _) => format!(
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

    fn by_model(self, n: usize) -> String {
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

    fn by_rules(self, n: usize) -> String {
        match (self.language, n) {
            (Language::English, 1) => {
                "1 question was made from the documents by rules: people ask in \
                 other words."
                    .to_owned()
            }
            (Language::English, _) => format!(
                "{n} questions were made from the documents by rules: people ask in other words."
            ),
            (Language::French, 1) => "1 question a été tirée des documents par des règles : on \
                 demande en d'autres mots."
                .to_owned(),
            (Language::French, _) => format!(
                "{n} questions ont été tirées des documents par des règles : on demande en d'autres \
                 mots."
            ),
        }
    }

    fn approved(self, n: usize) -> String {
        match self.language {
            Language::English => format!(
                "Questions whose accepted answer some variant wrote and a reader called good: {n}. \
                 They favour the variant that wrote it."
            ),
            Language::French => format!(
                "Questions dont la réponse attendue a été écrite par une variante et jugée bonne \
                 par un lecteur : {n}. Elles avantagent cette variante."
            ),
        }
    }

    fn word_for_word(self, n: usize) -> String {
        match self.language {
            Language::English => format!(
                "Questions whose accepted answers are whole sentences without a figure: {n}. The \
                 same in other words counts as wrong."
            ),
            Language::French => format!(
                "Questions dont les réponses attendues sont des phrases entières, sans chiffre : \
                 {n}. Les mêmes en d'autres mots comptent comme fausses."
            ),
        }
    }

    fn left_out(self, n: usize) -> String {
        match self.language {
            Language::English => format!(
                "Held-out questions that were not asked, because their answers are not a value: \
                 {n}."
            ),
            Language::French => format!(
                "Questions gardées de côté et non posées, car leurs réponses sont des phrases \
                 entières : {n}."
            ),
        }
    }
}
