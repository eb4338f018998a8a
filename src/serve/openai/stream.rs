//! Server-sent events: what a chat completion looks like in pieces.

use std::convert::Infallible;

use axum::response::sse::Event;
use futures_util::{Stream, StreamExt as _, stream};
use ingest::document::Language;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{
    chat::{Completion, add_sources, usage},
    marks::Marks,
    request::Dialects,
    sources,
};
use crate::serve::{answering::Progress, error::ApiError};

/// Turns what goes on while a question is answered into chunks.
pub(super) fn chunks(
    completion: Completion,
    dialects: Dialects,
    language: Option<Language>,
    progress: mpsc::UnboundedReceiver<Progress>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut chunker = Chunker {
        completion,
        dialects,
        language,
        marks: None,
        has_begun: false,
        shown: String::new(),
    };
    UnboundedReceiverStream::new(progress).flat_map(move |it| events(chunker.take(it)))
}

/// Each text as an event.
fn events(texts: Vec<String>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::iter(texts.into_iter().map(|it| Ok(Event::default().data(it))))
}

struct Chunker {
    completion: Completion,
    dialects: Dialects,
    language: Option<Language>,
    /// Once the sources are known.
    marks: Option<Marks>,
    has_begun: bool,
    /// The text that was sent.
    shown: String,
}

impl Chunker {
    fn take(&mut self, progress: Progress) -> Vec<String> {
        match progress {
            Progress::Status { state, .. } => self.status(state),
            Progress::Sources(sources) => {
                self.marks = Some(Marks::new(sources.len()));
                Vec::new()
            }
            Progress::Text(text) => {
                let shown = self.marks.as_mut().map_or(text.clone(), |it| it.push(&text));
                self.text(shown)
            }
            Progress::Done(outcome) => match *outcome {
                Ok(answered) => self.end(&answered),
                Err(error) => failed(&error),
            },
        }
    }

    /// Told once a state, to those who asked for events.
    fn status(&mut self, state: &str) -> Vec<String> {
        if !self.dialects.events || self.has_begun {
            return Vec::new();
        }
        let is_french = self.language == Some(Language::French);
        let description = match (state, is_french) {
            ("queued", true) => "Recherche dans les documents…",
            ("queued", false) => "Searching the documents…",
            _ => return Vec::new(),
        };
        vec![sources::status(description, false).to_string()]
    }

    fn text(&mut self, text: String) -> Vec<String> {
        if text.is_empty() {
            return Vec::new();
        }
        self.shown.push_str(&text);
        let mut res = self.begin();
        res.push(self.completion.chunk(&json!({ "content": text }), None).to_string());
        res
    }

    fn begin(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Vec::new();
        }
        let delta = json!({ "role": "assistant", "content": "" });
        vec![self.completion.chunk(&delta, None).to_string()]
    }

    fn end(&mut self, answered: &crate::serve::answering::Answered) -> Vec<String> {
        let held = self.marks.take().map(Marks::finish).unwrap_or_default();
        let mut res = self.text(held);
        // Where nothing was written piece by piece, as in a refusal, all of it comes now.
        if self.shown.is_empty() {
            res.extend(self.text(answered.answer.text.clone()));
        }
        res.extend(self.begin());
        if self.dialects.markdown {
            let list = sources::markdown(answered);
            res.extend(self.text(list));
        }
        let mut delta =
            json!({ "annotations": sources::annotations_of_draft(answered, &self.shown) });
        if self.dialects.azure {
            delta["context"] = sources::azure(answered);
        }
        let mut chunk = self.completion.chunk(&delta, None);
        add_sources(&mut chunk, answered);
        res.push(chunk.to_string());
        if self.dialects.events {
            let list = answered.json["sources"].as_array();
            res.extend(list.into_iter().flatten().map(|it| sources::event(it).to_string()));
            res.push(sources::status("", true).to_string());
        }
        let finish = if answered.answer.truncated { "length" } else { "stop" };
        res.push(self.completion.chunk(&json!({}), Some(finish)).to_string());
        let n_read = answered.answer.context.as_ref().map_or(0, |it| it.n_tokens);
        let usage = self.completion.usage_chunk(usage(n_read, answered.answer.n_tokens, 0));
        res.extend(usage.map(|it| it.to_string()));
        res.push(DONE.to_owned());
        res
    }
}

/// What ends a stream.
pub(super) const DONE: &str = "[DONE]";

/// An error in the middle of a stream, as OpenAI's clients read it.
pub(super) fn failed(error: &ApiError) -> Vec<String> {
    vec![error.json().to_string(), DONE.to_owned()]
}

/// Pieces of a draft that the generator writes alone.
pub(super) fn plain_chunks(
    completion: Completion,
    drafts: mpsc::UnboundedReceiver<super::chat::Drafting>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    use super::chat::Drafting;
    let mut has_begun = false;
    UnboundedReceiverStream::new(drafts).flat_map(move |it| {
        let mut res: Vec<Value> = Vec::new();
        if !std::mem::replace(&mut has_begun, true) {
            let delta = json!({ "role": "assistant", "content": "" });
            res.push(completion.chunk(&delta, None));
        }
        let mut is_over = false;
        match it {
            Drafting::Text(text) => {
                res.push(completion.chunk(&json!({ "content": text }), None));
            }
            Drafting::Done(outcome) => {
                is_over = true;
                match *outcome {
                    Ok(written) => {
                        res.push(completion.chunk(&json!({}), Some(written.finish())));
                        res.extend(completion.usage_chunk(written.usage()));
                    }
                    Err(error) => res.push(error.json()),
                }
            }
        }
        let mut texts: Vec<String> = res.iter().map(Value::to_string).collect();
        texts.extend(is_over.then(|| DONE.to_owned()));
        events(texts)
    })
}
