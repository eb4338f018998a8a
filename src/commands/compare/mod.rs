//! `souffleur compare`: the same questions to several arms, and a verdict.

mod json;
mod ready;

use std::process::ExitCode;

use anyhow::Result;
use ingest::document::Language;

use self::ready::Ready;
use crate::{
    cli::{CompareArgs, LanguageArg},
    compare::{
        arms::parse_arms,
        judge::{Judge, Judged, Judgements, n_judgements},
        kept::{Answers, Reply},
        report::{
            html::html,
            markdown::{markdown, value},
            words::Words,
        },
        reports,
        result::{Comparison, compare},
        run::run as answer_all,
        scores::{Better, Metric},
    },
    eval::answers::KnownQuestion,
    printer::{BOLD, DIM, GREEN, RED, styled},
    records::Records,
    retrieve::Question,
    session::{Interrupted, Session, WrongUsage},
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
    let mut asked = Vec::new();
    for it in &known {
        asked.push(Question::new(&it.question)?);
    }
    let ready = ready::open(session, arms, args)?;
    refuse_trained_on(args, &ready, &known)?;
    let mut answers = Answers::open(&ready.dir)?;
    let total = u64::try_from(asked.len() * ready.contestants.len()).unwrap_or(u64::MAX);
    let bar = session.printer.bar(total, "answers").with_prefix("answering");
    let stoppable = session.stoppable();
    let replies =
        answer_all(&ready.contestants, &asked, &mut answers, &|| session.flow(), &mut |label| {
            bar.set_message(label.to_owned());
            bar.inc(1);
        });
    bar.finish_and_clear();
    drop(stoppable);
    let Some(replies) = replies? else { return Err(Interrupted.into()) };
    let mut keys: Vec<String> = ready.contestants.iter().map(|it| it.key.clone()).collect();
    keys.extend(known.iter().map(|it| format!("{it:?}")));
    keys.extend(args.judge.clone());
    let judged = judge(session, &ready, (&known, &replies))?;
    let arms = ready.contestants.into_iter().map(|it| it.arm).zip(ready.trained).collect();
    let mut comparison = Comparison { judged, ..compare(arms, known, replies) };
    for (arm, bytes) in comparison.arms.iter_mut().zip(ready.weights) {
        arm.weights_bytes = bytes;
    }
    reports::keep(&ready.dir, &keys, &json::comparison(&comparison))?;
    report(session, args, &comparison)?;
    Ok(check(session, &limits, &comparison))
}

/// With `--refuse-trained-on`, questions that would flatter an adapter end the run before any is
/// asked.
fn refuse_trained_on(args: &CompareArgs, ready: &Ready, known: &[KnownQuestion]) -> Result<()> {
    let each = ready.contestants.iter().zip(&ready.trained);
    for (contestant, trained) in each.filter(|_| args.refuse_trained_on) {
        let label = &contestant.arm.label;
        if contestant.arm.adapter.is_some() && trained.documents.is_none() {
            let what = format!("`{label}`: its adapter does not say what it was trained on");
            return Err(WrongUsage(what.into()).into());
        }
        let seen: Vec<&KnownQuestion> = known.iter().filter(|it| trained.saw(it)).collect();
        if let Some(first) = seen.first() {
            let (n, document) = (seen.len(), first.document.as_deref().unwrap_or_default());
            let what = format!(
                "{n} questions are about documents that `{label}` was trained on; the first is \
                 \u{201c}{}\u{201d} about `{document}`",
                first.question
            );
            return Err(WrongUsage(what.into()).into());
        }
    }
    Ok(())
}

/// Has the judge judge, where there is one.
fn judge(
    session: &Session,
    ready: &Ready,
    (known, replies): (&[KnownQuestion], &[Vec<Reply>]),
) -> Result<Option<Judged>> {
    let Some(writer) = &ready.judge else { return Ok(None) };
    let data_dir = &session.config.data_dir;
    let votes = match data_dir.join(Records::FILE).exists() {
        true => Records::open(data_dir)?.votes()?,
        false => Vec::new(),
    };
    let mut kept = Judgements::open(&ready.dir)?;
    let judge = Judge { writer, prompts: &ready.prompts };
    let total = n_judgements(ready.contestants.len(), known.len(), &votes);
    let bar = session.printer.bar(u64::try_from(total).unwrap_or(u64::MAX), "judgements");
    let bar = bar.with_prefix("judging");
    let stoppable = session.stoppable();
    let flow = || session.flow();
    let judged = judge.judge((known, replies), &votes, &mut kept, &flow, &mut || bar.inc(1));
    bar.finish_and_clear();
    drop(stoppable);
    match judged? {
        Some(judged) => Ok(Some(judged)),
        None => Err(Interrupted.into()),
    }
}

/// The questions of the file that are asked for.
fn questions(session: &Session, args: &CompareArgs) -> Result<Vec<KnownQuestion>> {
    let mut known = args.questions.read(&session.config.data_dir)?;
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
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = known.iter().find(|it| !seen.insert(it.question.trim().to_owned())) {
        let file = &args.questions;
        let what = format!(
            "`{file}` asks \u{201c}{}\u{201d} twice: it would count twice",
            twice.question.trim()
        );
        return Err(WrongUsage(what.into()).into());
    }
    Ok(known)
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
    let mut res = vec![styled(DIM, format!("{n} questions; 95 % bootstrap intervals"))];
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
