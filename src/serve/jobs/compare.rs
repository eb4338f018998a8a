//! The same questions to several arms, and a verdict, kept among the comparisons.

use std::sync::Arc;

use anyhow::Result;
use model::catalogue::ModelRole;
use serde::Deserialize;
use serde_json::json;

use super::{End, Job, Jobs, Kind};
use crate::{
    compare::{
        arms::{Arm, parse_arms},
        questions::{self, QuestionSource},
        ready::{self, Placed},
        whole::{Compared, Progress, Stage, check_questions},
    },
    eval::answers::KnownQuestion,
    serve::{error::ApiError, state::App},
    session::{Session, model_path},
    upstream::OPENAI,
    writer::Writer,
};

/// Questions of one comparison at most.
const QUESTIONS_MAX: usize = 10_000;

/// `POST /v1/jobs` with `"kind": "compare"`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct CompareRequest {
    /// Arms as `souffleur compare` writes them, without paths: `base`, `rag`, `extract`, `ft:NAME`,
    /// `rag+ft:NAME`, each with settings in brackets or without.
    arms: Vec<String>,
    /// `feedback`, `dataset:ID` for the held-out part of a dataset, or the questions themselves:
    /// `[{"question", "answers": […], "document"?, "language"?, "type"?}]`, without answers where the
    /// documents have none.
    #[schema(value_type = Object)]
    questions: Questions,
    /// Questions at most.
    #[serde(default)]
    limit: Option<usize>,
    /// Who judges beside the figures: `local`, or `openai` for the server of the settings.
    #[serde(default)]
    judge: Option<String>,
    /// Whether questions about documents that an adapter was trained on end the job.
    #[serde(default)]
    refuse_trained_on: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Questions {
    Named(String),
    Given(Vec<KnownQuestion>),
}

/// What is compared.
struct Comparing {
    arms: Vec<Placed>,
    known: questions::Questions,
    asked: Vec<crate::retrieve::Question>,
    judge: Option<String>,
    refuse_trained_on: bool,
}

impl Jobs {
    /// Queues a comparison.
    pub(crate) fn compare(
        &self,
        app: &Arc<App>,
        owner: &str,
        request: CompareRequest,
    ) -> Result<Arc<Job>, ApiError> {
        let comparing = comparing(app, request)?;
        self.begin(app, Kind::Compare, owner, move |app, job| work(app, job, comparing))
    }
}

fn comparing(app: &App, request: CompareRequest) -> Result<Comparing, ApiError> {
    let wrong = |why: String| ApiError::bad_field("arms", why);
    let mut arms = parse_arms(&request.arms.join(",")).map_err(|error| wrong(error.to_string()))?;
    for arm in &mut arms {
        check_arm(app, arm).map_err(wrong)?;
    }
    let arms = ready::place(&app.session, arms).map_err(|error| wrong(format!("{error:#}")))?;
    if ready::needs_model(&arms) && matches!(*app.engine.writer, Writer::Extract { .. }) {
        return Err(wrong("an arm needs a language model, and there is none".to_owned()));
    }
    if let Some(judge) = &request.judge {
        check_judge(app, judge).map_err(|why| ApiError::bad_field("judge", why))?;
    }
    let wrong = |why: String| ApiError::bad_field("questions", why);
    let mut known = questions(app, request.questions)?;
    known.asked.truncate(request.limit.unwrap_or(usize::MAX));
    if known.asked.is_empty() || known.asked.len() > QUESTIONS_MAX {
        return Err(wrong(format!("questions must be from 1 to {QUESTIONS_MAX}")));
    }
    let asked =
        check_questions(&known.asked, "questions").map_err(|error| wrong(error.to_string()))?;
    let (judge, refuse_trained_on) = (request.judge, request.refuse_trained_on);
    Ok(Comparing { arms, known, asked, judge, refuse_trained_on })
}

/// Refuses a judge that would have to be fetched first.
fn check_judge(app: &App, judge: &str) -> Result<(), String> {
    let name = match judge {
        OPENAI => return Ok(()),
        "local" => &app.session.config.models.generator,
        _ => return Err(format!("there is no judge `{judge}`: `local`, or `openai`")),
    };
    let is_loaded = matches!(&*app.engine.writer, Writer::Model(it) if it.name == *name);
    match is_loaded || model_path(name).is_some() || is_installed(&app.session, name) {
        true => Ok(()),
        false => Err(format!("no generator `{name}` is installed")),
    }
}

/// Refuses arms that name files of this machine, and has adapters that are loaded stay as they are.
fn check_arm(app: &App, arm: &mut Arm) -> Result<(), String> {
    if let Some(adapter) = &mut arm.adapter {
        if adapter.path.is_some() {
            return Err(format!("`{}`: adapters are named without a path here", arm.label));
        }
        if let Writer::Model(model) = &*app.engine.writer {
            let loaded = model.adapters().into_iter().find(|it| it.name == adapter.name);
            adapter.path = loaded.map(|it| it.path);
        }
        let name = adapter.name.as_str();
        if adapter.path.is_none() && (name.contains(['/', '\\']) || name.starts_with('.')) {
            return Err(format!("there is no adapter `{name}`"));
        }
    }
    match &arm.settings.model {
        Some(name) if !is_installed(&app.session, name) => {
            Err(format!("`{}`: no generator `{name}` is installed", arm.label))
        }
        _ => Ok(()),
    }
}

fn is_installed(session: &Session, id: &str) -> bool {
    let is_known = session.entry(id, Some(ModelRole::Generator)).is_ok();
    id == OPENAI || is_known && session.store.installed(id).is_ok_and(|it| it.is_some())
}

fn questions(app: &App, of: Questions) -> Result<questions::Questions, ApiError> {
    let name = match of {
        Questions::Given(asked) => return Ok(questions::Questions { asked, n_left_out: 0 }),
        Questions::Named(name) => name,
    };
    let source = match name.strip_prefix("dataset:") {
        Some(id) => QuestionSource::HeldOut(app.dataset(id)?.dir),
        None if name == "feedback" => QuestionSource::Feedback,
        None => {
            let why = format!("there are no questions `{name}`: `feedback`, or `dataset:ID`");
            return Err(ApiError::bad_field("questions", why));
        }
    };
    let read = source.read(&app.session.config.data_dir);
    read.map_err(|error| ApiError::bad_field("questions", error.to_string()))
}

fn work(app: &App, job: &Job, it: Comparing) -> Result<End> {
    job.tell("loading", 0, 0);
    let session = &app.session;
    let ready = ready::open(session, &app.engine, it.arms, it.judge.as_deref())?;
    if it.refuse_trained_on {
        ready.refuse_trained_on(&it.known.asked)?;
    }
    let questions = (it.known, &it.asked[..]);
    let data_dir = &session.config.data_dir;
    let compared =
        ready.compare(data_dir, questions, &|| job.flow(), &mut |it: Progress<'_>| {
            let stage = match it.stage {
                Stage::Answering => "answering",
                Stage::Judging => "judging",
            };
            job.tell(stage, it.done, it.total);
        })?;
    Ok(match compared {
        None => End::Cancelled(None),
        Some(Compared { comparison, id }) => End::Done(Some(json!({
            "comparison": id,
            "decision": comparison.verdict.decision.as_str(),
            "verdict": comparison.verdict.english,
            "verdict_fr": comparison.verdict.french,
        }))),
    })
}
