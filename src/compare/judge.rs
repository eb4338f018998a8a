//! An optional judge: a language model that says which of two answers is better, asked in both
//! orders, and held against what people voted.
//!
//! Models prefer what stands first, and what is long (Zheng et al. 2023, arXiv 2306.05685): an
//! answer wins only where it wins in both orders. Nothing else of a comparison rests on the judge.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write as _},
    ops::ControlFlow,
    path::Path,
};

use ingest::document::Language;
use model::{
    chat::Turn, constrain::Constraint, generate::Request, sample::SampleOptions, thinking,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    intervals::wilson,
    kept::Reply,
    stats::{ALPHA, holm, mcnemar},
};
use crate::{
    cite::Case,
    engine::AskError,
    eval::answers::KnownQuestion,
    prompts::Prompts,
    records::{Choice, Vote},
    writer::Writer,
};

/// The file of a run's folder.
const FILE: &str = "judged.jsonl";

/// Tokens of a judgement: it is one short object.
const TOKENS_MAX: usize = 40;

/// Tokens of one that thinks first.
const THINKING_TOKENS_MAX: usize = 2_048;

/// What a judge says of two answers, in the order in which it was shown them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// The first one is better.
    First,
    /// The second one is.
    Second,
    /// They are worth the same.
    Tie,
    /// It wrote something else: a server may not hold it to the form.
    Nonsense,
}

/// Which of two answers is better, by both orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The first answer, whichever way they were shown.
    A,
    /// The second.
    B,
    /// Neither in both orders.
    Tie,
    /// One order gave no judgement.
    Unknown,
}

/// Two arms by the judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedPair {
    /// The first arm.
    pub a: usize,
    /// The second one.
    pub b: usize,
    /// Questions that the first one wins.
    pub a_wins: usize,
    /// Questions that the second one wins.
    pub b_wins: usize,
    /// Questions that neither wins in both orders.
    pub ties: usize,
    /// Questions on which the judge wrote nonsense; they count for nobody.
    pub nonsense: usize,
    /// The exact sign test of wins against losses, corrected for the number of pairs.
    pub p_holm: f64,
}

/// How often the judge says what people said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Votes of people for one of two answers, on which the judge said something.
    pub n: usize,
    /// Those on which it prefers the same answer.
    pub agreed: usize,
    /// Those on which it prefers neither.
    pub ties: usize,
    /// 95 % interval of the share by Wilson (1927).
    pub interval: (f64, f64),
}

/// All that the judge said.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Its model.
    pub model: String,
    /// Each arm with each later one.
    pub pairs: Vec<JudgedPair>,
    /// `None` where nobody has voted.
    pub agreement: Option<Agreement>,
}

/// A judge that is ready.
#[derive(Debug)]
pub struct Judge<'a> {
    /// Its model.
    pub writer: &'a Writer,
    /// How it is asked.
    pub prompts: &'a Prompts,
}

/// Why the judge could not judge.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The model failed.
    #[error("the judge could not judge \u{201c}{question}\u{201d}: {source}")]
    Ask {
        /// The question.
        question: String,
        /// Why.
        source: Box<AskError>,
    },
    /// A judgement could not be kept or read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Judgements of a run's folder so far.
#[derive(Debug)]
pub struct Judgements {
    file: fs_err::File,
    kept: HashMap<String, Said>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    said: Said,
}

impl Judgements {
    /// Opens the judgements of a run's folder. A last line that was cut short is dropped.
    ///
    /// # Errors
    /// When the disk fails, or a line in the middle is damaged.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let bytes = if path.exists() { fs_err::read(&path)? } else { Vec::new() };
        let end = bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        let mut kept = HashMap::new();
        for line in bytes[..end].split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            let line: Line = serde_json::from_slice(line)
                .map_err(|error| io::Error::other(format!("`{}`: {error}", path.display())))?;
            kept.insert(line.key, line.said);
        }
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
        if end < bytes.len() {
            file.set_len(u64::try_from(end).unwrap_or(u64::MAX))?;
        }
        Ok(Self { file, kept })
    }

    fn put(&mut self, key: String, said: Said) -> io::Result<()> {
        let line = Line { key, said };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.kept.insert(line.key, said);
        Ok(())
    }
}

/// Two answers to be judged.
#[derive(Debug, Clone, Copy)]
struct Bout<'a> {
    question: &'a str,
    language: Option<&'a str>,
    accepted: &'a [String],
    a: &'a str,
    b: &'a str,
}

/// How many times the judge is asked at most.
#[must_use]
pub fn n_judgements(n_arms: usize, n_questions: usize, votes: &[Vote]) -> usize {
    let decided = votes.iter().filter(|it| is_decided(it)).count();
    2 * (n_questions * n_arms * n_arms.saturating_sub(1) / 2 + decided)
}

fn is_decided(it: &Vote) -> bool {
    matches!(it.choice, Choice::Left | Choice::Right)
}

impl Judge<'_> {
    /// Has every two arms judged on every question, then the answers that people voted on. `None`
    /// when `flow` breaks before the end: what was judged is kept.
    ///
    /// # Errors
    /// [`JudgeError`]; what was judged before is kept.
    pub fn judge(
        &self,
        (questions, replies): (&[KnownQuestion], &[Vec<Reply>]),
        votes: &[Vote],
        kept: &mut Judgements,
        flow: &dyn Fn() -> ControlFlow<()>,
        on_judgement: &mut dyn FnMut(),
    ) -> Result<Option<Judged>, JudgeError> {
        let n_arms = replies.first().map_or(0, Vec::len);
        let mut counts: BTreeMap<(usize, usize), [usize; 4]> = BTreeMap::new();
        for (known, replies) in questions.iter().zip(replies) {
            for a in 0..n_arms {
                for b in a + 1..n_arms {
                    let bout = Bout {
                        question: &known.question,
                        language: known.language.as_deref(),
                        accepted: &known.answers,
                        a: &replies[a].text,
                        b: &replies[b].text,
                    };
                    let Some(better) = self.both_orders(bout, kept, flow, on_judgement)? else {
                        return Ok(None);
                    };
                    counts.entry((a, b)).or_default()[better as usize] += 1;
                }
            }
        }
        let Some(agreement) = self.agreement(votes, kept, flow, on_judgement)? else {
            return Ok(None);
        };
        Ok(Some(Judged { model: self.name(), pairs: pairs(counts), agreement }))
    }

    /// What the model is called.
    #[must_use]
    pub fn name(&self) -> String {
        match self.writer {
            Writer::Model(it) => it.name.clone(),
            Writer::Upstream(it) => it.model().to_owned(),
            Writer::Extract { .. } => String::new(),
        }
    }

    /// The votes again, by the judge. The inner `None` is for no votes.
    fn agreement(
        &self,
        votes: &[Vote],
        kept: &mut Judgements,
        flow: &dyn Fn() -> ControlFlow<()>,
        on_judgement: &mut dyn FnMut(),
    ) -> Result<Option<Option<Agreement>>, JudgeError> {
        let mut pairs = Vec::new();
        for vote in votes.iter().filter(|it| is_decided(it)) {
            let [a, b] =
                [&vote.left, &vote.right].map(|it| Case::new(&it.text, &[]).sentences().join(" "));
            let bout = Bout {
                question: &vote.question,
                language: vote.left.json["language"].as_str(),
                accepted: &[],
                a: &a,
                b: &b,
            };
            let Some(better) = self.both_orders(bout, kept, flow, on_judgement)? else {
                return Ok(None);
            };
            pairs.push((vote.choice, better));
        }
        Ok(Some(agreement_of(&pairs)))
    }

    /// Asks in both orders. `None` when `flow` breaks.
    fn both_orders(
        &self,
        bout: Bout<'_>,
        kept: &mut Judgements,
        flow: &dyn Fn() -> ControlFlow<()>,
        on_judgement: &mut dyn FnMut(),
    ) -> Result<Option<Better>, JudgeError> {
        // Nobody need be asked which of two equal answers is better.
        if bout.a.trim() == bout.b.trim() {
            on_judgement();
            on_judgement();
            return Ok(Some(Better::Tie));
        }
        let turned = Bout { a: bout.b, b: bout.a, ..bout };
        let mut said = [Said::Nonsense; 2];
        for (place, bout) in said.iter_mut().zip([bout, turned]) {
            if flow().is_break() {
                return Ok(None);
            }
            let failed = |source: AskError| JudgeError::Ask {
                question: bout.question.to_owned(),
                source: Box::new(source),
            };
            let prompt = self.prompt(bout).map_err(failed)?;
            let key = blake3::hash(format!("{}\n{prompt}", self.name()).as_bytes()).to_hex();
            *place = match kept.kept.get(key.as_str()) {
                Some(it) => *it,
                None => {
                    let text = self.ask(prompt, flow).map_err(failed)?;
                    // A judgement that was broken off is none.
                    if flow().is_break() {
                        return Ok(None);
                    }
                    let said = read(&text);
                    kept.put(key.to_string(), said)?;
                    said
                }
            };
            on_judgement();
        }
        Ok(Some(better(said)))
    }

    fn prompt(&self, bout: Bout<'_>) -> Result<String, AskError> {
        let of_code = bout.language.and_then(Language::from_code);
        let of_text = || ingest::language::detect(bout.question);
        let language = of_code.or_else(of_text).unwrap_or(Language::English);
        let accepted = bout.accepted.join(" / ");
        Ok(self.prompts.judge(language, bout.question, &accepted, [bout.a, bout.b])?)
    }

    fn ask(&self, prompt: String, flow: &dyn Fn() -> ControlFlow<()>) -> Result<String, AskError> {
        let turns = [Turn::user(prompt)];
        let schema = json!({
            "type": "object",
            "properties": {"better": {"enum": ["first", "second", "tie"]}},
            "required": ["better"],
            "additionalProperties": false,
        });
        let options = SampleOptions {
            tokens_max: TOKENS_MAX,
            constraint: Some(Constraint::JsonSchema(schema)),
            ..SampleOptions::default()
        };
        match self.writer {
            Writer::Upstream(chat) => {
                // Thoughts count as tokens there, and whether it thinks is not told.
                let options = SampleOptions { tokens_max: THINKING_TOKENS_MAX, ..options };
                Ok(chat.reply(&turns, &options, &mut |_| flow())?.text)
            }
            Writer::Model(model) => {
                let prompt = model.encoder().encode_chat(&turns)?;
                let is_thinking = model.encoder().is_thinking(&prompt);
                // A model that thinks first must be free to.
                let options = match is_thinking {
                    true => SampleOptions {
                        tokens_max: THINKING_TOKENS_MAX,
                        constraint: None,
                        ..options
                    },
                    false => options,
                };
                let request = Request { prompt, options, adapter: None };
                let draft = model.write(request, &mut |_| flow())?;
                Ok(thinking::split(&draft.text, is_thinking).1)
            }
            Writer::Extract { .. } => Err(AskError::NoModel),
        }
    }
}

/// What a judge wrote: the object, alone or among other words.
fn read(text: &str) -> Said {
    let object = text.find('{').zip(text.rfind('}')).filter(|(start, end)| start < end);
    let Some((start, end)) = object else { return Said::Nonsense };
    let Ok(value) = serde_json::from_str::<Value>(&text[start..=end]) else {
        return Said::Nonsense;
    };
    match value["better"].as_str() {
        Some("first") => Said::First,
        Some("second") => Said::Second,
        Some("tie") => Said::Tie,
        _ => Said::Nonsense,
    }
}

/// The judgement by both orders: the second one saw the answers turned around.
fn better([straight, turned]: [Said; 2]) -> Better {
    match (straight, turned) {
        (Said::Nonsense, _) | (_, Said::Nonsense) => Better::Unknown,
        (Said::First, Said::Second) => Better::A,
        (Said::Second, Said::First) => Better::B,
        (Said::First, Said::First | Said::Tie)
        | (Said::Second, Said::Second | Said::Tie)
        | (Said::Tie, Said::First | Said::Second | Said::Tie) => Better::Tie,
    }
}

fn pairs(counts: BTreeMap<(usize, usize), [usize; 4]>) -> Vec<JudgedPair> {
    let p: Vec<f64> = counts.values().map(|it| mcnemar(it[0], it[1])).collect();
    let each = counts.into_iter().zip(holm(&p));
    each.map(|(((a, b), [a_wins, b_wins, ties, nonsense]), p_holm)| JudgedPair {
        a,
        b,
        a_wins,
        b_wins,
        ties,
        nonsense,
        p_holm,
    })
    .collect()
}

fn agreement_of(pairs: &[(Choice, Better)]) -> Option<Agreement> {
    let told: Vec<&(Choice, Better)> = pairs.iter().filter(|it| it.1 != Better::Unknown).collect();
    if told.is_empty() {
        return None;
    }
    let is_same = |it: &&&(Choice, Better)| {
        matches!(it, (Choice::Left, Better::A) | (Choice::Right, Better::B))
    };
    let (n, agreed) = (told.len(), told.iter().filter(is_same).count());
    let ties = told.iter().filter(|it| it.1 == Better::Tie).count();
    Some(Agreement { n, agreed, ties, interval: wilson(agreed, n, ALPHA) })
}

#[cfg(test)]
mod tests;
