//! A comparison as Markdown.

use super::{
    super::{
        result::{Comparison, Pair},
        scores::{Better, Metric},
    },
    costs::facts,
    judged::judged_table,
    words::Words,
};
use crate::eval::metrics::Mean;

/// Flipped questions of a pair that are listed; JSON and HTML have them all.
const FLIPPED_MAX: usize = 10;

/// Writes a comparison.
#[must_use]
pub fn markdown(it: &Comparison, words: Words) -> String {
    let mut res = vec![
        words.pick("# Comparison", "# Comparaison").to_owned(),
        it.verdict.text(words.language).to_owned(),
        intro(it, words),
        arms(it, words),
    ];
    if it.arms.len() > 1 {
        res.push(words.pick("## Pairs", "## Paires").to_owned());
        res.push(pairs(it, words));
    }
    if let Some(it) = judged_table(it, words) {
        res.push(format!("## {}", it.title));
        res.push(table(it.head, it.rows.into_iter().map(row)));
        res.push(it.note);
    }
    if !it.slices.is_empty() {
        let title = words.pick("## Right answers by kind", "## Réponses justes par catégorie");
        res.push(title.to_owned());
        res.push(slices(it, words));
    }
    res.extend(flipped(it, words));
    res.join("\n\n") + "\n"
}

fn intro(it: &Comparison, words: Words) -> String {
    let questions = words.pick("Questions:", "Questions :");
    format!("{questions} {}. {}", it.questions.len(), words.intervals())
}

/// A mean as people read it: shares in percent, the rest in its own unit.
#[must_use]
pub fn value(metric: Metric, it: &Mean, words: Words) -> String {
    let (factor, digits) = if metric.better() == Better::Higher { (100.0, 1) } else { (1.0, 0) };
    let of = |it: f64| words.number(factor * it, digits);
    format!("{} [{}{} {}]", of(it.value), of(it.low), words.pick(",", " ;"), of(it.high))
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> =
        cells.into_iter().map(|it| it.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |", cells.join(" | "))
}

fn table(head: Vec<String>, rows: impl IntoIterator<Item = String>) -> String {
    let line = format!("|{}", "---|".repeat(head.len()));
    [row(head), line].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn labels(it: &Comparison) -> impl Iterator<Item = String> {
    it.arms.iter().map(|it| format!("`{}`", it.arm.label))
}

fn arms(it: &Comparison, words: Words) -> String {
    let head = [String::new()].into_iter().chain(labels(it)).collect();
    let rows = Metric::ALL.into_iter().filter_map(|metric| {
        let each: Vec<Option<Mean>> = it.arms.iter().map(|it| it.mean(metric)).collect();
        each.iter().any(Option::is_some).then(|| {
            let unit = if metric.better() == Better::Higher { " (%)" } else { "" };
            let shown = each
                .iter()
                .map(|it| it.as_ref().map_or("–".to_owned(), |it| value(metric, it, words)));
            row([format!("{}{unit}", words.metric(metric))].into_iter().chain(shown))
        })
    });
    let facts = facts(it, words).into_iter();
    let facts = facts.map(|(name, each)| row([name].into_iter().chain(each)));
    table(head, rows.chain(facts))
}

fn pairs(it: &Comparison, words: Words) -> String {
    let head = [
        words.pick("metric", "mesure"),
        words.pick("pair", "paire"),
        words.pick("difference", "écart"),
        words.pick("p (Holm)", "p (Holm)"),
        words.pick("more / as much / less", "plus / autant / moins"),
        words.pick("smallest that shows", "plus petit décelable"),
        words.pick("the first is", "la première est"),
    ];
    let of_metric = |metric| {
        let pairs: Vec<String> =
            it.pairs_by(metric).map(|pair| pair_row(it, pair, words)).collect();
        pairs
    };
    table(
        head.into_iter().map(str::to_owned).collect(),
        Metric::ALL.into_iter().flat_map(of_metric),
    )
}

/// A pair is told as the later arm against the earlier one.
fn pair_row(it: &Comparison, pair: &Pair, words: Words) -> String {
    let of = &pair.difference;
    let label = |i: usize| &it.arms[i].arm.label;
    let digits = usize::from(pair.metric.better() == Better::Higher);
    let factor = if digits == 1 { 100.0 } else { 1.0 };
    row([
        words.metric(pair.metric).to_owned(),
        format!("`{}` − `{}`", label(pair.b), label(pair.a)),
        value(pair.metric, &of.mean, words),
        words.p_value(pair.p_holm),
        format!("{} / {} / {}", of.wins, of.ties, of.losses),
        of.detectable.map_or("–".to_owned(), |it| words.number(factor * it, digits)),
        words.outcome(pair.outcome).to_owned(),
    ])
}

fn slices(it: &Comparison, words: Words) -> String {
    let head = [String::new(), "n".to_owned()].into_iter().chain(labels(it)).collect();
    let rows = it.slices.iter().map(|slice| {
        let right = slice.right.iter().map(|it| value(Metric::Right, it, words));
        row([words.slice(slice), slice.n.to_string()].into_iter().chain(right))
    });
    table(head, rows)
}

/// Questions that only one of two arms has right.
fn flipped(it: &Comparison, words: Words) -> Vec<String> {
    let mut res = Vec::new();
    for pair in it.pairs_by(Metric::Right) {
        let (first, second) = it.flipped(pair.a, pair.b);
        let all: Vec<usize> = first.into_iter().chain(second).collect();
        if all.is_empty() {
            continue;
        }
        let label = |i: usize| &it.arms[i].arm.label;
        res.push(format!(
            "## {} `{}` / `{}`",
            words.pick("Flipped:", "Basculées :"),
            label(pair.a),
            label(pair.b)
        ));
        let head = [
            words.pick("question", "question").to_owned(),
            words.pick("accepted", "attendu").to_owned(),
            format!("`{}`", label(pair.a)),
            format!("`{}`", label(pair.b)),
        ];
        let rows = all.iter().take(FLIPPED_MAX).map(|i| {
            let known = &it.questions[*i];
            let answer = |arm: usize| {
                let right = it.scores[*i][arm].get(Metric::Right) == Some(1.0);
                format!("{} {}", if right { "✓" } else { "✗" }, it.replies[*i][arm].text)
            };
            let accepted = known.answers.first().cloned().unwrap_or_else(|| "–".to_owned());
            row([known.question.clone(), accepted, answer(pair.a), answer(pair.b)])
        });
        res.push(table(head.to_vec(), rows));
        if all.len() > FLIPPED_MAX {
            let text = words.pick(
                "{n} more: --html and --json have them all.",
                "{n} autres : --html et --json les donnent toutes.",
            );
            res.push(text.replace("{n}", &(all.len() - FLIPPED_MAX).to_string()));
        }
    }
    res
}
