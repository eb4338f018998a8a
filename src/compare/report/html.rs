//! A comparison as a page that stands alone: no script, no font, nothing from elsewhere.

use std::fmt::Write as _;

use super::{
    super::{
        result::{Comparison, Pair, Slice},
        scores::{Better, Metric},
        stats::Outcome,
    },
    costs::facts,
    judged::{JudgedTable, judged_table},
    markdown::value,
    plots::{Mark, bars, intervals},
    words::Words,
};
use crate::eval::{answers::KnownQuestion, metrics::Mean};

/// Colours of the style sheet.
const N_COLOURS: usize = 6;
/// Characters of an interval with its mean; what is longer is words, which go into several lines.
const FIGURES_MAX: usize = 22;

/// Metrics whose differences are drawn.
const DRAWN: [Metric; 4] = [Metric::Right, Metric::F1, Metric::Supported, Metric::Refusal];

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

/// Writes a comparison.
#[must_use]
pub fn html(it: &Comparison, words: Words) -> String {
    let title = words.pick("Comparison", "Comparaison");
    let n = it.questions.len();
    let mut res = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"verdict\">{}</p>\n<p class=\"faint\">{n} questions. {}</p>\n",
        words.language.code(),
        include_str!("report.css"),
        quoted(it.verdict.text(words.language)),
        words.intervals()
    );
    section(&mut res, words.pick("Arms", "Variantes"), &arms(it, words));
    if it.arms.len() > 1 {
        section(&mut res, words.pick("Differences", "Écarts"), &differences(it, words));
    }
    if let Some(table) = judged_table(it, words) {
        section(&mut res, &table.title, &judged(&table));
    }
    if !it.slices.is_empty() {
        let title =
            words.pick("Right answers by kind of question", "Réponses justes par catégorie");
        section(&mut res, title, &slices(it, words));
    }
    section(&mut res, words.pick("Time of an answer", "Temps d'une réponse"), &times(it, words));
    let right = |i: usize, arm: usize| it.scores[i][arm].get(Metric::Right);
    let (flips, others): (Vec<usize>, Vec<usize>) =
        (0..n).partition(|i| (0..it.arms.len()).any(|arm| right(*i, arm) != right(*i, 0)));
    if it.arms.len() > 1 {
        let title = words.pick("Questions that flipped", "Questions qui basculent");
        section(&mut res, title, &flipped(it, &flips, words));
    }
    let title = words.pick("The other questions", "Les autres questions");
    section(&mut res, title, &answers(it, &others, words));
    res + "</body>\n</html>\n"
}

/// A text with names in back quotes.
fn quoted(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(i, it)| {
        let it = escape(it);
        if i % 2 == 1 { format!("<code>{it}</code>") } else { it }
    });
    parts.collect()
}

fn section(res: &mut String, title: &str, body: &str) {
    let _ = writeln!(res, "<h2>{}</h2>\n{body}", escape(title));
}

fn cells(kind: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells = cells.into_iter().map(|it| {
        let is_figures = kind == "td" && it.chars().count() <= FIGURES_MAX;
        let class = if is_figures { " class=\"n\"" } else { "" };
        format!("<{kind}{class}>{}</{kind}>", escape(&it))
    });
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

fn labels(it: &Comparison) -> impl Iterator<Item = String> {
    it.arms.iter().map(|it| it.arm.label.clone())
}

fn arms(it: &Comparison, words: Words) -> String {
    let mut res = "<div class=\"wide\"><table>\n".to_owned();
    res.push_str(&cells("th", [String::new()].into_iter().chain(labels(it))));
    for metric in Metric::ALL {
        let each: Vec<Option<Mean>> = it.arms.iter().map(|it| it.mean(metric)).collect();
        if each.iter().any(Option::is_some) {
            let unit = if metric.better() == Better::Higher { " (%)" } else { "" };
            let shown = each
                .iter()
                .map(|it| it.as_ref().map_or("–".to_owned(), |it| value(metric, it, words)));
            let name = format!("{}{unit}", words.metric(metric));
            res.push_str(&cells("td", [name].into_iter().chain(shown)));
        }
    }
    for (name, each) in facts(it, words) {
        res.push_str(&cells("td", [name].into_iter().chain(each)));
    }
    res + "</table></div>"
}

fn judged(it: &JudgedTable) -> String {
    let mut res = "<div class=\"wide\"><table>\n".to_owned();
    res.push_str(&cells("th", it.head.clone()));
    for row in &it.rows {
        res.push_str(&cells("td", row.clone()));
    }
    res + &format!("</table></div>\n<p class=\"faint\">{}</p>", escape(&it.note))
}

fn name_of(it: &Comparison, pair: &Pair) -> String {
    format!("{} − {}", it.arms[pair.b].arm.label, it.arms[pair.a].arm.label)
}

fn differences(it: &Comparison, words: Words) -> String {
    let mut res = String::new();
    for metric in DRAWN {
        let marks: Vec<Mark> = it
            .pairs_by(metric)
            .map(|pair| Mark {
                name: name_of(it, pair),
                mean: pair.difference.mean,
                figures: words.outcome(pair.outcome).to_owned(),
                class: match pair.outcome {
                    Outcome::CannotTell => "unsure",
                    _ => "sure",
                }
                .to_owned(),
            })
            .collect();
        if !marks.is_empty() {
            let title = format!("{}, {}", words.metric(metric), words.pick("points", "points"));
            let _ = writeln!(res, "<h3>{}</h3>\n{}", escape(&title), intervals(&title, &marks));
        }
    }
    res.push_str("<div class=\"wide\"><table>\n");
    let head = [
        words.pick("metric", "mesure"),
        words.pick("pair", "paire"),
        words.pick("difference", "écart"),
        "p",
        "p (Holm)",
        words.pick("more / as much / less", "plus / autant / moins"),
        words.pick("smallest that shows", "plus petit décelable"),
        words.pick("more questions", "questions de plus"),
        words.pick("the first is", "la première est"),
    ];
    res.push_str(&cells("th", head.map(str::to_owned)));
    for pair in &it.pairs {
        res.push_str(&pair_row(it, pair, words));
    }
    res + "</table></div>"
}

fn pair_row(it: &Comparison, pair: &Pair, words: Words) -> String {
    let of = &pair.difference;
    let is_share = pair.metric.better() == Better::Higher;
    let (factor, digits) = if is_share { (100.0, 1) } else { (1.0, 0) };
    let none = || "–".to_owned();
    let cell = [
        words.metric(pair.metric).to_owned(),
        name_of(it, pair),
        value(pair.metric, &of.mean, words),
        words.p_value(of.p),
        words.p_value(pair.p_holm),
        format!("{} / {} / {}", of.wins, of.ties, of.losses),
        of.detectable.map_or_else(none, |it| words.number(factor * it, digits)),
        of.more_questions.map_or_else(none, |it| it.to_string()),
        words.outcome(pair.outcome).to_owned(),
    ];
    cells("td", cell)
}

fn colour(i: usize) -> String {
    format!("arm{}", i % N_COLOURS)
}

fn slices(it: &Comparison, words: Words) -> String {
    let of_slice = |slice: &Slice| {
        let marks: Vec<Mark> = slice
            .right
            .iter()
            .enumerate()
            .map(|(i, mean)| Mark {
                name: it.arms[i].arm.label.clone(),
                mean: *mean,
                figures: words.percent(mean.value),
                class: colour(i),
            })
            .collect();
        let title = format!("{} ({})", words.slice(slice), slice.n);
        format!("<h3>{}</h3>\n{}\n", escape(&title), bars(&title, &marks, 1.0))
    };
    it.slices.iter().map(of_slice).collect()
}

fn times(it: &Comparison, words: Words) -> String {
    let marks: Vec<Mark> = it
        .arms
        .iter()
        .enumerate()
        .map(|(i, arm)| {
            let (median, ninth) = arm.total_ms;
            Mark {
                name: arm.arm.label.clone(),
                mean: Mean { value: median, low: arm.first_ms, high: ninth },
                figures: words.seconds(median / 1000.0),
                class: colour(i),
            }
        })
        .collect();
    let high = it.arms.iter().map(|it| it.total_ms.1).fold(0.0, f64::max);
    let title = words.pick("Median time of an answer", "Temps médian d'une réponse");
    format!(
        "<p class=\"faint\">{}</p>\n{}",
        words.pick(
            "Bars: medians. Lines: from the first piece (median) to what nine answers in ten need.",
            "Barres : médianes. Traits : du premier morceau (médiane) à ce qu'il faut à neuf \
             réponses sur dix."
        ),
        bars(title, &marks, high)
    )
}

/// What a question must not be read without: who made it, and which arms were trained on its document.
fn tags(it: &Comparison, known: &KnownQuestion, words: Words) -> String {
    let maker = known.generated.map(|it| words.maker(it).to_owned());
    let trained = it.arms.iter().filter(|it| it.was_trained_on(known));
    let trained = trained.map(|it| format!("{} {}", words.trained_on(), it.arm.label));
    let all = maker.into_iter().chain(trained);
    all.map(|it| format!(" <span class=\"tag\">{}</span>", escape(&it))).collect()
}

fn side_by_side(it: &Comparison, i: usize, words: Words) -> String {
    let known = &it.questions[i];
    let is_right = |arm: usize| it.scores[i][arm].get(Metric::Right) == Some(1.0);
    let mark = |arm: usize| if is_right(arm) { ("yes", "✓") } else { ("no", "✗") };
    let marks = (0..it.arms.len()).map(|arm| {
        let (class, mark) = mark(arm);
        format!("<b class=\"{class}\">{mark}</b>")
    });
    let mut res = format!(
        "<details><summary>{} {}{}</summary>\n",
        marks.collect::<String>(),
        escape(&known.question),
        tags(it, known, words)
    );
    let accepted = match known.answers.as_slice() {
        [] => words.pick("the documents do not say", "les documents ne le disent pas").to_owned(),
        them => them.join(" · "),
    };
    let document = known.document.as_deref().unwrap_or_default();
    let _ = write!(
        res,
        "<p class=\"faint\">{}: {} {}</p>\n<div class=\"side\">",
        words.pick("Accepted", "Attendu"),
        escape(&accepted),
        if document.is_empty() { String::new() } else { format!("({})", escape(document)) }
    );
    for (arm, reply) in it.replies[i].iter().enumerate() {
        let (class, mark) = mark(arm);
        let n_supported = reply.sentences.iter().filter(|it| it.supported).count();
        let checked = match reply.sentences.len() {
            0 => String::new(),
            n => format!(", {n_supported}/{n} {}", words.pick("supported", "étayées")),
        };
        let _ = write!(
            res,
            "<div><b class=\"{class}\">{mark} {}</b> <span class=\"faint\">{}{checked}</span>\n{}\
             </div>",
            escape(&it.arms[arm].arm.label),
            words.seconds(reply.total_us as f64 / 1e6),
            escape(&reply.text)
        );
    }
    res + "</div></details>\n"
}

/// Questions that not all arms have right or wrong: how many of each pair, then each one with all
/// its answers.
fn flipped(it: &Comparison, which: &[usize], words: Words) -> String {
    let mut res = "<div class=\"wide\"><table>\n".to_owned();
    let head = [
        words.pick("pair", "paire"),
        words.pick("only the first right", "seule la première juste"),
        words.pick("only the second right", "seule la seconde juste"),
    ];
    res.push_str(&cells("th", head.map(str::to_owned)));
    for pair in it.pairs_by(Metric::Right) {
        let (first, second) = it.flipped(pair.a, pair.b);
        let name = format!("{} / {}", it.arms[pair.a].arm.label, it.arms[pair.b].arm.label);
        res.push_str(&cells("td", [name, first.len().to_string(), second.len().to_string()]));
    }
    res.push_str("</table></div>\n");
    res.push_str(&answers(it, which, words));
    res
}

/// Each question with the answers of all arms, one beside the other.
fn answers(it: &Comparison, which: &[usize], words: Words) -> String {
    if which.is_empty() {
        let none = words.pick("None.", "Aucune.");
        return format!("<p>{none}</p>");
    }
    which.iter().map(|i| side_by_side(it, *i, words)).collect()
}
