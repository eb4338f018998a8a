//! `souffleur compare`: the same questions to several arms, and a verdict.

use std::process::ExitCode;

use anyhow::Result;
use indicatif::ProgressBar;
use ingest::document::Language;

use super::ask;
use crate::{
    cli::{CompareArgs, LanguageArg},
    compare::{
        arms::parse_arms,
        questions::Questions,
        ready,
        report::{
            html::html,
            json,
            markdown::{markdown, value},
            words::Words,
        },
        result::Comparison,
        scores::{Better, Metric},
        whole::{Compared, Stage, check_questions},
    },
    eval::answers::KnownQuestion,
    printer::{BOLD, DIM, GREEN, RED, styled},
    session::{EXTRACT, Interrupted, Session, WrongUsage},
};

/// Metrics of the table on the terminal; the reports have them all.
const SHOWN: [Metric; 9] = [
    Metric::Right,
    Metric::F1,
    Metric::Facts,
    Metric::CitationPrecision,
    Metric::CitationRecall,
    Metric::Supported,
    Metric::Refusal,
    Metric::FirstToken,
    Metric::Total,
];

pub(super) fn run(session: &mut Session, args: &CompareArgs) -> Result<ExitCode> {
    // Before anything is fetched or read: wrong arms and questions change nothing.
    let arms = parse_arms(&args.arms)?;
    let limits =
        args.fail_under.iter().map(|it| Limit::read(it, &arms)).collect::<Result<Vec<_>>>()?;
    let known = questions(session, args)?;
    let asked = check_questions(&known.asked, &args.questions.to_string())?;
    let arms = ready::place(session, arms)?;
    if args.answer.adapter.is_some() {
        let what = "--adapter goes with one arm: write `rag+ft:NAME=PATH` among the arms";
        return Err(WrongUsage(what.into()).into());
    }
    // Arms of quotations alone need no model.
    let generator = match ready::needs_model(&arms) {
        true => args.answer.generator.as_deref(),
        false => Some(EXTRACT),
    };
    let engine = ask::open(session, &args.docs, generator, None)?;
    let ready = ready::open(session, &engine, arms, args.judge.as_deref())?;
    if args.refuse_trained_on {
        ready.refuse_trained_on(&known.asked)?;
    }
    let printer = session.printer;
    let stoppable = session.stoppable();
    let mut open_bar: Option<(Stage, ProgressBar)> = None;
    let data_dir = &session.config.data_dir;
    let compared = ready.compare(data_dir, (known, &asked), &|| session.flow(), &mut |it| {
        if open_bar.as_ref().is_none_or(|(stage, _)| *stage != it.stage) {
            let total = u64::try_from(it.total).unwrap_or(u64::MAX);
            let bar = match it.stage {
                Stage::Answering => printer.bar(total, "answers").with_prefix("answering"),
                Stage::Judging => printer.bar(total, "judgements").with_prefix("judging"),
            };
            if let Some((_, old)) = open_bar.replace((it.stage, bar)) {
                old.finish_and_clear();
            }
        }
        if let Some((_, bar)) = &open_bar {
            bar.set_message(it.label.to_owned());
            bar.set_position(u64::try_from(it.done).unwrap_or(u64::MAX));
        }
    });
    if let Some((_, bar)) = open_bar {
        bar.finish_and_clear();
    }
    drop(stoppable);
    let Some(Compared { comparison, .. }) = compared? else { return Err(Interrupted.into()) };
    report(session, args, &comparison)?;
    Ok(check(session, &limits, &comparison))
}

/// The questions of the source that are asked for.
fn questions(session: &Session, args: &CompareArgs) -> Result<Questions> {
    let Questions { asked: mut known, n_left_out } =
        args.questions.read(&session.config.data_dir)?;
    if n_left_out > 0 {
        let what = "questions left out: their answers are not a value";
        session.printer.note(format!("{n_left_out} {what}"));
    }
    for (key, wanted) in &args.only {
        let of = |it: &KnownQuestion| match key.as_str() {
            "language" => it.language.clone(),
            _ => it.kind.clone(),
        };
        known.retain(|it| of(it).as_ref() == Some(wanted));
    }
    known.truncate(args.limit.map_or(usize::MAX, std::num::NonZeroUsize::get));
    if known.is_empty() {
        let what = format!("no question of `{}` is left by --only", args.questions);
        return Err(WrongUsage(what.into()).into());
    }
    Ok(Questions { asked: known, n_left_out })
}

/// The language of the report: as asked for, or that of most questions.
fn language(args: &CompareArgs, it: &Comparison) -> Language {
    match args.report_language {
        Some(LanguageArg::En) => return Language::English,
        Some(LanguageArg::Fr) => return Language::French,
        None => {}
    }
    let is_french = |it: &&KnownQuestion| {
        let of_code = it.language.as_deref().and_then(Language::from_code);
        let of_text = || ingest::language::detect(&it.question);
        of_code.or_else(of_text) == Some(Language::French)
    };
    let n_french = it.questions.iter().filter(is_french).count();
    if 2 * n_french > it.questions.len() { Language::French } else { Language::English }
}

fn report(session: &Session, args: &CompareArgs, it: &Comparison) -> Result<()> {
    let printer = session.printer;
    let words = Words { language: language(args, it) };
    if let Some(path) = &args.html {
        fs_err::write(path, html(it, words))?;
        printer.note(format!("the report is in `{}`", path.display()));
    }
    if let Some(path) = &args.markdown {
        fs_err::write(path, markdown(it, words))?;
        printer.note(format!("the report is in `{}`", path.display()));
    }
    for line in table(it, words) {
        printer.line(line)?;
    }
    printer.line("")?;
    printer.line(it.verdict.text(words.language))?;
    printer.json(&json::comparison(it))?;
    Ok(())
}

/// Figures by arm, then what is said of each pair.
fn table(it: &Comparison, words: Words) -> Vec<String> {
    let labels: Vec<&str> = it.arms.iter().map(|it| it.arm.label.as_str()).collect();
    let widths: Vec<usize> = labels.iter().map(|it| it.chars().count().max(22)).collect();
    let line = |name: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(it, width)| format!("{it:>width$}"));
        format!("{name:<24}  {}", cells.collect::<Vec<_>>().join("  "))
    };
    let n = it.questions.len();
    let mut res = vec![styled(DIM, format!("{n} questions; 95 % intervals"))];
    let head: Vec<String> = labels.iter().map(|it| (*it).to_owned()).collect();
    res.push(styled(BOLD, line("", &head)));
    for metric in SHOWN {
        let each: Vec<String> = it
            .arms
            .iter()
            .map(|it| it.mean(metric).map_or("-".to_owned(), |it| value(metric, &it, words)))
            .collect();
        let unit = if metric.better() == Better::Higher { " (%)" } else { "" };
        res.push(line(&format!("{}{unit}", words.metric(metric)), &each));
    }
    for pair in it.pairs_by(Metric::Right) {
        let (first, second) = (labels[pair.a], labels[pair.b]);
        let outcome = words.outcome(pair.outcome);
        let points = words.points(&pair.difference.mean);
        let p = words.probability(pair.p_holm);
        res.push(format!("{second} − {first}: {points}, {p}: {outcome}"));
    }
    if let Some(judged) = &it.judged {
        for pair in &judged.pairs {
            let (first, second) = (labels[pair.a], labels[pair.b]);
            let (won, ties, lost) = (pair.b_wins, pair.ties, pair.a_wins);
            let judge = words.pick("judge", "juge");
            res.push(format!(
                "{judge} {}: {second} − {first}: {won} / {ties} / {lost}",
                judged.model
            ));
        }
    }
    res
}

/// `--fail-under`: what a metric must reach.
struct Limit {
    /// The arm that must reach it; `None` for all.
    arm: Option<String>,
    metric: Metric,
    least: f64,
}

impl Limit {
    fn read(text: &str, arms: &[crate::compare::arms::Arm]) -> Result<Self> {
        let wrong = |why: String| WrongUsage(format!("--fail-under `{text}`: {why}").into());
        let (name, least) = text
            .rsplit_once('=')
            .ok_or_else(|| wrong("write it as METRIC=NUMBER or ARM:METRIC=NUMBER".to_owned()))?;
        let least = least.parse::<f64>().ok().filter(|it| it.is_finite());
        let least = least.ok_or_else(|| wrong("the limit is no number".to_owned()))?;
        let (arm, name) = match name.rsplit_once(':') {
            Some((arm, name)) => (Some(arm), name),
            None => (None, name),
        };
        let Some(metric) = Metric::named(name).filter(|it| it.better() == Better::Higher) else {
            let higher = Metric::ALL.into_iter().filter(|it| it.better() == Better::Higher);
            let known: Vec<&str> = higher.map(Metric::as_str).collect();
            return Err(wrong(format!("no metric `{name}`: known are {}", known.join(", "))).into());
        };
        if let Some(arm) = arm
            && !arms.iter().any(|it| it.label == arm)
        {
            let known: Vec<&str> = arms.iter().map(|it| it.label.as_str()).collect();
            return Err(wrong(format!("no arm `{arm}`: compared are {}", known.join(", "))).into());
        }
        Ok(Self { arm: arm.map(str::to_owned), metric, least })
    }
}

/// 1 where an arm does not reach a limit; a metric that none of its answers has is not reached.
fn check(session: &Session, limits: &[Limit], it: &Comparison) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for limit in limits {
        let of = |label: &String| limit.arm.as_ref().is_none_or(|it| it == label);
        for arm in it.arms.iter().filter(|it| of(&it.arm.label)) {
            let (label, name, least) = (&arm.arm.label, limit.metric.as_str(), limit.least);
            let found = arm.mean(limit.metric).map(|it| it.value);
            let shown = found.map_or("not measured".to_owned(), |it| format!("{it:.3}"));
            if found.is_some_and(|it| it >= least) {
                session.printer.note(styled(GREEN, format!("{name} of `{label}` is {shown}")));
            } else {
                let text = format!("{name} of `{label}` is {shown}, under {least}");
                session.printer.warn(styled(RED, text));
                code = ExitCode::from(1);
            }
        }
    }
    code
}
