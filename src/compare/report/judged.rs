//! What the judge prefers, as a table for people.

use ingest::document::Language;

use super::{
    super::{
        judge::{Agreement, Judged},
        result::Comparison,
    },
    words::Words,
};

/// A table with the words around it.
pub(super) struct JudgedTable {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// How far it can be trusted.
    pub(super) note: String,
}

/// The table of a comparison with a judge.
pub(super) fn judged_table(it: &Comparison, words: Words) -> Option<JudgedTable> {
    let judged = it.judged.as_ref()?;
    let head = [
        words.pick("pair", "paire"),
        words.pick("the first wins", "la première gagne"),
        words.pick("tie", "égalité"),
        words.pick("the second wins", "la seconde gagne"),
        words.pick("no judgement", "sans jugement"),
        "p (Holm)",
    ];
    let label = |i: usize| &it.arms[i].arm.label;
    let rows = judged.pairs.iter().map(|pair| {
        vec![
            format!("{} − {}", label(pair.b), label(pair.a)),
            pair.b_wins.to_string(),
            pair.ties.to_string(),
            pair.a_wins.to_string(),
            pair.nonsense.to_string(),
            words.p_value(pair.p_holm),
        ]
    });
    Some(JudgedTable {
        title: words
            .pick("What the judge prefers: {model}", "Ce que préfère le juge : {model}")
            .replace("{model}", &judged.model),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        note: note(judged, words),
    })
}

fn note(it: &Judged, words: Words) -> String {
    let rule = words.pick(
        "An answer wins where the judge prefers it in both orders.",
        "Une réponse gagne lorsque le juge la préfère dans les deux ordres.",
    );
    format!("{rule} {}", it.agreement.map_or_else(|| words.no_votes(), |it| words.agreement(&it)))
}

impl Words {
    fn no_votes(self) -> String {
        let text = self.pick(
            "Nobody has voted, so nothing says how far it can be trusted.",
            "Personne n'a voté : rien ne dit jusqu'où s'y fier.",
        );
        text.to_owned()
    }

    fn agreement(self, it: &Agreement) -> String {
        let share = self.percent(it.agreed as f64 / it.n as f64);
        let (low, high) = (self.percent(it.interval.0), self.percent(it.interval.1));
        let (n, ties) = (it.n, it.ties);
        match self.language {
            Language::English => format!(
                "Of {n} votes of people for one of two answers it agrees with {share} (95 % \
                 interval {low} to {high}) and calls {ties} a tie."
            ),
            Language::French => format!(
                "Sur {n} votes pour l'une de deux réponses, il est d'accord dans {share} des cas \
                 (intervalle à 95 % : {low} à {high}) et en dit {ties} à égalité."
            ),
        }
    }
}
