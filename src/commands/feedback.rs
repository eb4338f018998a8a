//! `souffleur feedback`: what people thought of answers, and what becomes of it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use index::{atomic_file, catalog::Catalog, hit::DocumentId};
use serde_json::{Value, json};
use tune::dataset::{
    format::{self, Format},
    row::BodyKind,
};

use crate::{
    cli::{
        FeedbackCommand, FeedbackExportArgs, FeedbackForm, FeedbackListArgs, FeedbackPromoteArgs,
    },
    dataset::feedback::allowed_rows,
    eval::answers::KnownQuestion,
    feedback::{
        checks::Said,
        example::{example, to_toml},
        questions::questions,
    },
    printer::{BOLD, DIM, GREEN, RED, styled},
    prompts::Example,
    records::{FeedbackRecord, NewEntry, Rating, Records, Vote},
    session::{Session, WrongUsage},
};

/// Characters of an answer or a question in a list.
const SHOWN_CHARS: usize = 100;

/// Characters from which an example is long for a small model: see prompts/README.md.
const EXAMPLE_CHARS_MAX: usize = 480;

pub(super) fn run(session: &Session, command: &FeedbackCommand) -> Result<ExitCode> {
    let records = Records::open(&session.config.data_dir)?;
    match command {
        FeedbackCommand::List(args) => list(session, &records, args),
        FeedbackCommand::Export(args) => export(session, &records, args),
        FeedbackCommand::Promote(args) => promote(session, &records, args),
    }
}

fn list(session: &Session, records: &Records, args: &FeedbackListArgs) -> Result<ExitCode> {
    let printer = session.printer;
    let wanted = args.rating.map(Rating::from);
    let mut judged = records.feedback()?;
    judged.retain(|it| wanted.is_none_or(|wanted| it.feedback.rating == wanted));
    let mut votes = if wanted.is_some() { Vec::new() } else { records.votes()? };
    let (n_judged, n_votes) = (judged.len(), votes.len());
    judged.drain(..n_judged.saturating_sub(args.limit.get()));
    votes.drain(..n_votes.saturating_sub(args.limit.get()));
    for it in &judged {
        let (style, mark) = match it.feedback.rating {
            Rating::Up => (GREEN, "👍"),
            Rating::Down => (RED, "👎"),
        };
        let reason = it.feedback.reason.map_or_else(String::new, |it| format!("  {}", word(it)));
        let id = &it.feedback.answer;
        printer.line(format!("{} {id}  {}{reason}", styled(style, mark), moment(it.at)))?;
        printer.line(format!("   {}", styled(BOLD, short(&it.question))))?;
        printer.line(format!("   {}", short(&it.text)))?;
        for (name, text) in [("right", &it.feedback.correction), ("comment", &it.feedback.comment)]
        {
            if let Some(text) = text {
                printer.line(format!("   {} {}", styled(DIM, name), short(text)))?;
            }
        }
    }
    for it in &votes {
        printer.line(format!(
            "{}  {}  {}",
            it.id,
            moment(it.at),
            styled(BOLD, it.choice.as_str())
        ))?;
        printer.line(format!("   {}", styled(BOLD, short(&it.question))))?;
        for (name, side) in [("left ", &it.left), ("right", &it.right)] {
            let arm = side.side.arm.as_deref().unwrap_or(&side.side.answer);
            printer.line(format!("   {} {arm}: {}", styled(DIM, name), short(&side.text)))?;
        }
    }
    if judged.len() < n_judged || votes.len() < n_votes {
        printer.note(format!(
            "{} of {n_judged} judgements and {} of {n_votes} votes: --limit shows more",
            judged.len(),
            votes.len()
        ));
    } else if n_judged + n_votes == 0 {
        printer.note("nobody has judged an answer: the page, the API and chat tools ask for it");
    }
    printer.json(&json!({
        "feedback": judged.iter().map(judged_json).collect::<Vec<_>>(),
        "feedback_total": n_judged,
        "votes": votes.iter().map(vote_json).collect::<Vec<_>>(),
        "votes_total": n_votes,
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn judged_json(it: &FeedbackRecord) -> Value {
    let mut res = json!(it.feedback);
    res["at"] = json!(moment(it.at));
    res["given_by"] = json!(it.given_by);
    res["question"] = json!(it.question);
    res["text"] = json!(it.text);
    res["sources"] = it.json["sources"].clone();
    res["prompt"] = it.why["prompt"].clone();
    res
}

fn vote_json(it: &Vote) -> Value {
    let [left, right] = [&it.left, &it.right].map(|it| {
        json!({
            "answer": it.side.answer,
            "arm": it.side.arm,
            "text": it.text,
            "sources": it.json["sources"],
            "prompt": it.why["prompt"],
        })
    });
    json!({
        "id": it.id,
        "at": moment(it.at),
        "given_by": it.given_by,
        "question": it.question,
        "choice": it.choice,
        "reason": it.reason,
        "left": left,
        "right": right,
    })
}

fn word(it: crate::records::Reason) -> String {
    json!(it).as_str().unwrap_or_default().replace('_', " ")
}

/// A moment as ISO 8601 (UTC).
fn moment(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| String::new(), |it| it.to_string())
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn export(session: &Session, records: &Records, args: &FeedbackExportArgs) -> Result<ExitCode> {
    let kind = match args.form {
        FeedbackForm::Questions => None,
        FeedbackForm::Sft => Some(BodyKind::Supervised),
        FeedbackForm::Dpo => Some(BodyKind::Preference),
        FeedbackForm::Kto => Some(BodyKind::Unpaired),
    };
    let (lines, n_left_out, why) = match kind {
        None => {
            let found = questions(&records.feedback()?);
            let both = found.questions.iter().zip(&found.said);
            let lines: Vec<Value> = both.map(|(it, said)| question_json(it, said)).collect();
            (lines, found.n_without_answer, "nobody said what is right")
        }
        Some(kind) => {
            let (_, index) = session.index_as_built()?;
            let found = allowed_rows(records, index.catalog(), &session.config.dataset)?;
            let of_kind = found.rows.iter().filter(|it| it.body.kind() == kind);
            let lines = of_kind.map(|it| format::write(it, Format::own(kind)));
            let why = "documents that must not be trained on or are gone, or personal data";
            (lines.collect::<Result<_, _>>()?, found.n_left_out, why)
        }
    };
    if lines.is_empty() {
        bail!("no feedback becomes {}: {n_left_out} left out ({why})", form_name(args.form));
    }
    let text: String = lines.iter().map(|it| format!("{it}\n")).collect();
    fs_err::write(&args.out, text)?;
    let printer = session.printer;
    let (n, path) = (lines.len(), args.out.display());
    printer.line(styled(BOLD, format!("{n} {} in {path}", form_name(args.form))))?;
    if n_left_out > 0 {
        printer.note(format!("{n_left_out} left out: {why}"));
    }
    printer.json(&json!({ "written": n, "left_out": n_left_out, "path": args.out }))?;
    Ok(ExitCode::SUCCESS)
}

fn form_name(form: FeedbackForm) -> &'static str {
    match form {
        FeedbackForm::Questions => "questions",
        FeedbackForm::Sft => "conversations",
        FeedbackForm::Dpo => "preferences",
        FeedbackForm::Kto => "labelled answers",
    }
}

fn question_json(it: &KnownQuestion, said: &Said) -> Value {
    let mut res = json!({
        "question": it.question,
        "answers": it.answers,
        "document": it.document,
        "language": it.language,
        "type": it.kind,
        "checks": said.checks,
    });
    if let Some(comment) = &said.comment {
        res["comment"] = json!(comment);
    }
    res
}

fn promote(session: &Session, records: &Records, args: &FeedbackPromoteArgs) -> Result<ExitCode> {
    let judged = records.feedback()?;
    let Some(record) = judged.into_iter().find(|it| it.feedback.answer == args.answer) else {
        bail!("nobody has judged an answer `{}`: see `souffleur feedback list`", args.answer);
    };
    let folder = prompts_folder(session, args)?;
    let documents = documents_of(&record, session.index_as_built()?.1.catalog())?;
    let made = example(&record).context("the answer makes no example")?;
    let comment = [
        format!("From answer {}, judged by people; souffleur feedback promote.", args.answer),
        "Goes with that answer: souffleur forget removes it.".to_owned(),
        format!("Holds words of: {}", documents.join(", ")),
    ];
    let text = to_toml(&made, &comment);
    // What we write must be what prompts read.
    toml::from_str::<Example>(&text).context("the example does not read back")?;
    let name = format!("{}-feedback-{}.toml", made.language, args.answer);
    let examples = folder.join("examples");
    let path = examples.join(&name);
    let printer = session.printer;
    printer.line(text.trim_end())?;
    let n_chars: usize = made.passages.iter().map(|it| it.text.len()).sum::<usize>()
        + made.answer.len()
        + made.question.len();
    if n_chars > EXAMPLE_CHARS_MAX {
        printer.warn(format!(
            "{n_chars} characters: short examples leave room for the question's own passages"
        ));
    }
    if args.approve {
        fs_err::create_dir_all(&examples)?;
        // From wherever it is forgotten, it must be found.
        let found_at = fs_err::canonicalize(&examples)?.join(name);
        records.remember_example(&found_at, &args.answer)?;
        atomic_file::write(&found_at, text.as_bytes())?;
        let detail = path.display().to_string();
        let (action, detail) = ("feedback.promote", Some(detail.as_str()));
        let object = Some(args.answer.as_str());
        records.audit(&NewEntry { action, object, detail, ..NewEntry::default() })?;
        printer.note(format!("written to `{}`; it goes with its answer", path.display()));
    } else {
        printer.note(format!("not written: --approve puts it into `{}`", path.display()));
    }
    printer.json(&json!({
        "path": path,
        "written": args.approve,
        "documents": documents,
        "example": {
            "language": made.language,
            "question": made.question,
            "answer": made.answer,
            "reasoning": made.reasoning,
            "passages": made.passages.iter().map(|it| {
                json!({ "title": it.title, "text": it.text })
            }).collect::<Vec<_>>(),
        },
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn prompts_folder(session: &Session, args: &FeedbackPromoteArgs) -> Result<PathBuf> {
    let of_settings = &session.config.prompts.dir;
    match &args.prompts_dir {
        Some(it) => Ok(it.clone()),
        None if !of_settings.as_os_str().is_empty() => Ok(of_settings.clone()),
        None => {
            let what = "the settings name no folder of prompts: set `prompts.dir`, or give \
                        --prompts-dir DIR here and to what asks";
            Err(WrongUsage(what.into()).into())
        }
    }
}

/// The paths of the documents that an answer shows. Those that only some may read, or that are gone,
/// must not stand in a prompt that all are answered from.
fn documents_of(record: &FeedbackRecord, catalog: &Catalog) -> Result<Vec<String>> {
    let mut res: Vec<String> = Vec::new();
    for shown in record.json["sources"].as_array().into_iter().flatten() {
        let path = shown["document"].as_str().unwrap_or_default().to_owned();
        let id = shown["document_id"].as_i64().map(DocumentId);
        let Some(found) = id.map(|it| catalog.get(it)).transpose()?.flatten() else {
            bail!("`{path}` is not indexed any more: an example must not keep its words");
        };
        if !found.labels.groups.is_empty() {
            bail!(
                "only {} may read `{path}`, and all who ask may be shown an example",
                found.labels.groups.join(", ")
            );
        }
        if !res.contains(&path) {
            res.push(path);
        }
    }
    Ok(res)
}
