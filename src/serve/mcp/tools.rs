//! The tools: what they take, and what they give.

use std::{collections::HashMap, sync::Arc};

use index::hit::DocumentId;
use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, Tool, ToolAnnotations},
    schemars::{self, JsonSchema},
    service::RequestContext,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Caller, Given, document};
use crate::{
    build_index::place,
    serve::{
        answering::{Conversation, Progress, answer},
        ask::{AskRequest, SearchRequest, asking, run_search},
        error::ApiError,
        state::App,
        tools::reply::{Markup, Reply},
        work::{on_search_place, on_thread},
    },
};

pub(super) const SEARCH: &str = "search";
pub(super) const GET_DOCUMENT: &str = "get_document";
pub(super) const ASK: &str = "ask";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchParams {
    /// What to look for: words, a name, a number, or a question, in French or English.
    query: String,
    /// Only documents of this collection.
    collection: Option<String>,
    /// Passages at most, from 1 to 100; 10 where not given.
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentParams {
    /// The document's number, `document_id` of a search result. Either this or `path`.
    pub(super) id: Option<i64>,
    /// The document's path, `document` of a search result.
    pub(super) path: Option<String>,
    /// From this page on, for documents that have pages.
    pub(super) first_page: Option<u32>,
    /// To the end of this page.
    pub(super) last_page: Option<u32>,
    /// From this character on (Unicode, from 0).
    pub(super) char_start: Option<usize>,
    /// To this character.
    pub(super) char_end: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskParams {
    /// The question, whole and on its own, in French or English: the answer comes in its language.
    question: String,
    /// Only documents of this collection.
    collection: Option<String>,
}

pub(super) fn list() -> Vec<Tool> {
    let annotations = |title: &str| {
        ToolAnnotations::with_title(title).read_only(true).idempotent(true).open_world(false)
    };
    vec![
        Tool::new(
            SEARCH,
            "Finds passages of the documents, best first, by words and by meaning. Each has its \
             text, its document, page and heading, and a link that shows it in its document.",
            serde_json::Map::new(),
        )
        .with_input_schema::<SearchParams>()
        .with_raw_output_schema(Arc::new(results_schema()))
        .with_annotations(annotations("Search the documents")),
        Tool::new(
            GET_DOCUMENT,
            "Gives the text of a document as Markdown, from its beginning or from a page or a \
             character on. A long one comes in parts: the result says where the next one begins.",
            serde_json::Map::new(),
        )
        .with_input_schema::<DocumentParams>()
        .with_raw_output_schema(Arc::new(object_schema(&["id", "path", "text"])))
        .with_annotations(annotations("Read a document")),
        Tool::new(
            ASK,
            "Answers a question from the documents. Each sentence of the answer is checked against \
             the passage that it cites: supported, partly or unsupported. Says so where the \
             documents hold no answer. May take a minute.",
            serde_json::Map::new(),
        )
        .with_input_schema::<AskParams>()
        .with_raw_output_schema(Arc::new(object_schema(&["answer", "sentences", "sources"])))
        .with_annotations(annotations("Ask the documents")),
    ]
}

fn results_schema() -> serde_json::Map<String, Value> {
    let mut res = object_schema(&["results"]);
    res.insert(
        "properties".to_owned(),
        json!({ "results": { "type": "array", "items": { "type": "object" } } }),
    );
    res
}

fn object_schema(required: &[&str]) -> serde_json::Map<String, Value> {
    let mut res = serde_json::Map::new();
    res.insert("type".to_owned(), json!("object"));
    res.insert("required".to_owned(), json!(required));
    res
}

fn params<T: DeserializeOwned>(arguments: Value) -> Result<T, ApiError> {
    serde_json::from_value(arguments)
        .map_err(|error| ApiError::bad_request(format!("these arguments will not do: {error}")))
}

pub(super) async fn search(
    app: &Arc<App>,
    caller: Caller,
    arguments: Value,
) -> Result<Given, ApiError> {
    let SearchParams { query, collection, limit } = params(arguments)?;
    let Caller { reader, base } = caller;
    on_search_place(app, move |app| {
        let request = SearchRequest::plain(query, collection, limit);
        let mut found = run_search(app, &reader, &base, "mcp.search", request)?;
        link_files(app, &base, &mut found["results"])?;
        let results: Vec<Value> =
            found["results"].as_array().into_iter().flatten().map(passage).collect();
        let texts = results.iter().enumerate().map(|(i, it)| passage_text(i + 1, it));
        let text = match results.is_empty() {
            true => "Nothing was found.".to_owned(),
            false => texts.collect::<Vec<_>>().join("\n\n"),
        };
        Ok(Given { text, data: json!({ "results": results }) })
    })
    .await
}

/// What a model needs of a passage.
fn passage(source: &Value) -> Value {
    let keys = [
        "chunk",
        "document_id",
        "document",
        "title",
        "page",
        "heading",
        "collection",
        "language",
        "text",
        "relevance",
        "char_start",
        "char_end",
        "url",
    ];
    let kept = keys.iter().map(|&it| (it.to_owned(), source[it].clone()));
    Value::Object(kept.filter(|(_, it)| !it.is_null()).collect())
}

fn passage_text(number: usize, passage: &Value) -> String {
    let text = |key: &str| passage[key].as_str().unwrap_or_default();
    let page = passage["page"].as_u64().map_or_else(String::new, |it| format!(", p. {it}"));
    let heading = match text("heading") {
        "" => String::new(),
        it => format!(" › {it}"),
    };
    format!(
        "[{number}] {}{page}{heading} ({}, document {})\n{}\n{}",
        text("title"),
        text("document"),
        passage["document_id"],
        text("url"),
        text("text").trim()
    )
}

pub(super) async fn get_document(
    app: &Arc<App>,
    caller: Caller,
    arguments: Value,
) -> Result<Given, ApiError> {
    let params: DocumentParams = params(arguments)?;
    on_thread(app, move |app| document::get(app, &caller, &params)).await
}

pub(super) async fn ask(
    app: &Arc<App>,
    caller: Caller,
    arguments: Value,
    context: &RequestContext<RoleServer>,
) -> Result<Given, ApiError> {
    let AskParams { question, collection } = params(arguments)?;
    let base = caller.base.clone();
    let mut asking = on_thread(app, move |app| {
        asking(app, caller.reader, caller.base, AskRequest::plain(question, collection, None))
    })
    .await?;
    asking.channel = "mcp.ask";
    asking.conversation = Conversation::None;
    let ticket = app.answering.ticket()?;
    let mut progress = answer(app, asking, ticket);
    let mut told = Told::new(context);
    let answered = loop {
        let event = tokio::select! {
            event = progress.recv() => event,
            // Leaving drops the channel, which ends the answer.
            () = context.ct.cancelled() => {
                return Err(ApiError::bad_request("the client called the question off"));
            }
        };
        match event {
            Some(Progress::Status { state, .. }) => told.tell(state).await,
            Some(Progress::Done(outcome)) => break *outcome,
            Some(Progress::Sources(_) | Progress::Text(_)) => {}
            None => {
                let cause = std::io::Error::other("an answer ended without an end");
                return Err(ApiError::internal(&cause));
            }
        }
    };
    let mut json = answered?.json;
    on_thread(app, move |app| {
        link_files(app, &base, &mut json["sources"])?;
        Ok(given_answer(&json))
    })
    .await
}

/// Tells the client how far its question is, if it wants to know.
struct Told<'a> {
    context: &'a RequestContext<RoleServer>,
    last: &'static str,
    n: f64,
}

impl<'a> Told<'a> {
    fn new(context: &'a RequestContext<RoleServer>) -> Self {
        Self { context, last: "", n: 0.0 }
    }

    async fn tell(&mut self, state: &'static str) {
        let Some(token) = self.context.meta.get_progress_token() else { return };
        if state == self.last {
            return;
        }
        self.last = state;
        self.n += 1.0;
        let progress = ProgressNotificationParam::new(token, self.n).with_message(state);
        // A client that has left does not hear it, and its question is called off.
        let _ = self.context.peer.notify_progress(progress).await;
    }
}

fn given_answer(json: &Value) -> Given {
    let sentences = json["sentences"].as_array().into_iter().flatten().map(|it| {
        json!({
            "text": it["text"],
            "verdict": it["verdict"],
            "citations": it["citations"],
            "missing": it["missing"],
        })
    });
    let sources = json["sources"].as_array().into_iter().flatten().map(|it| {
        let mut res = passage(it);
        res["index"] = it["index"].clone();
        res
    });
    let data = json!({
        "id": json["id"],
        "answer": json["answer"],
        "language": json["language"],
        "refused": json["refused"],
        "sentences": sentences.collect::<Vec<Value>>(),
        "sources": sources.collect::<Vec<Value>>(),
        "truncated": json["truncated"],
    });
    Given { text: Reply::new(json).text(Markup::Plain), data }
}

/// Where no server is there to show a passage, links lead to the files themselves.
fn link_files(app: &App, base: &str, sources: &mut Value) -> Result<(), ApiError> {
    if !base.is_empty() {
        return Ok(());
    }
    let mut known: HashMap<i64, String> = HashMap::new();
    for source in sources.as_array_mut().into_iter().flatten() {
        let Some(id) = source["document_id"].as_i64() else { continue };
        if let std::collections::hash_map::Entry::Vacant(entry) = known.entry(id)
            && let Some(document) = app.engine.index.catalog().get(DocumentId(id))?
        {
            entry.insert(document::file_url(&place(&document)));
        }
        let page = source["page"].as_u64().map_or_else(String::new, |it| format!("#page={it}"));
        let url = known.get(&id).map(|it| format!("{it}{page}"));
        source["url"] = json!(url);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_say_what_they_take_and_that_they_only_read() {
        let tools = list();
        let names: Vec<&str> = tools.iter().map(|it| it.name.as_ref()).collect();
        assert_eq!(names, [SEARCH, GET_DOCUMENT, ASK]);
        for tool in &tools {
            let annotations = tool.annotations.as_ref().unwrap();
            assert_eq!(annotations.read_only_hint, Some(true), "{}", tool.name);
            let schema = tool.schema_as_json_value();
            let properties = schema["properties"].as_object().unwrap();
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{}: {name}", tool.name);
            }
        }
        assert_eq!(tools[0].schema_as_json_value()["required"], json!(["query"]));
        assert_eq!(tools[2].schema_as_json_value()["required"], json!(["question"]));
    }

    #[test]
    fn an_answer_is_text_with_its_sources_and_data() {
        let json = json!({
            "id": "a_1", "answer": "Three days. [1]", "language": "en", "refused": false,
            "truncated": false, "question": "How many?",
            "sentences": [{ "text": "Three days.", "verdict": "partly", "citations": [1],
                            "missing": ["4"], "evidence": null }],
            "sources": [{ "index": 1, "chunk": 5, "document_id": 2, "document": "a.md", "title": "A",
                          "page": 3, "heading": "Days", "text": "Three", "url": "https://s/1",
                          "score": 0.3 }],
        });
        let Given { text, data } = given_answer(&json);
        assert_eq!(
            text,
            "Three days. [1] ⚠️\n\n[1] A, p. 3 · Days: https://s/1\n\n⚠️ partly supported"
        );
        assert_eq!(data["sources"][0]["url"], "https://s/1");
        assert_eq!(data["sources"][0]["index"], 1);
        assert_eq!(data["sources"][0]["score"], Value::Null);
        assert_eq!(data["sentences"][0]["verdict"], "partly");
    }
}
