//! Model ids: one for each collection and mode.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    serve::{access::Reader, error::ApiError, state::App},
    writer::Writer,
};

/// What a model id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers from the documents, of one collection or of all, with an adapter or without.
    Rag { collection: Option<String>, adapter: Option<String> },
    /// The generator alone, with an adapter or without.
    Plain { adapter: Option<String> },
}

impl Mode {
    /// Reads a model id. `None` where it is of no such form.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let named = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        let (kind, rest) = match id.split_once(':') {
            Some((kind, rest)) => (kind, Some(named(rest)?)),
            None => (id, None),
        };
        match (kind, rest) {
            ("rag", collection) => Some(Self::Rag { collection, adapter: None }),
            ("base", None) => Some(Self::Plain { adapter: None }),
            ("ft", adapter @ Some(_)) => Some(Self::Plain { adapter }),
            ("rag+ft", Some(rest)) => {
                let (collection, adapter) = match rest.split_once('/') {
                    Some((collection, adapter)) => (Some(named(collection)?), named(adapter)?),
                    None => (None, rest),
                };
                Some(Self::Rag { collection, adapter: Some(adapter) })
            }
            _ => None,
        }
    }
}

/// Every model id that the reader may use.
pub(crate) fn known_models(app: &App, reader: &Reader) -> Result<Vec<String>, ApiError> {
    let groups = reader.groups();
    let collections = app.engine.index.catalog().collections(groups.as_deref())?;
    let collections: Vec<String> = collections.into_iter().map(|it| it.name).collect();
    let mut res = vec!["rag".to_owned()];
    res.extend(collections.iter().map(|it| format!("rag:{it}")));
    if !matches!(*app.engine.writer, Writer::Extract { .. }) {
        res.push("base".to_owned());
    }
    for adapter in app.adapters() {
        res.push(format!("ft:{adapter}"));
        res.push(format!("rag+ft:{adapter}"));
        res.extend(collections.iter().map(|it| format!("rag+ft:{it}/{adapter}")));
    }
    res.push(app.embedder.clone());
    res.extend(app.reranker.clone());
    Ok(res)
}

fn model(app: &App, id: &str) -> Value {
    let created = jiff::Timestamp::now().as_second()
        - i64::try_from(app.started.elapsed().as_secs()).unwrap_or(0);
    json!({ "id": id, "object": "model", "created": created, "owned_by": "souffleur" })
}

/// Lists the models that this key may use.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI",
    responses((status = 200, description = "`{\"object\": \"list\", \"data\": [model…]}`", body = Value)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let models = known_models(&app, &reader)?;
    let data: Vec<Value> = models.iter().map(|it| model(&app, it)).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Tells whether a model is there.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "OpenAI",
    params(("id" = String, Path, description = "A model id, such as `rag:rh`.")),
    responses((status = 200, description = "The model", body = Value),
              (status = 404, description = "There is no such model", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match known_models(&app, &reader)?.contains(&id) {
        true => Ok(Json(model(&app, &id))),
        false => Err(unknown(&id)),
    }
}

/// As OpenAI says it.
pub(crate) fn unknown(id: &str) -> ApiError {
    ApiError::not_found("model", id).with_code("model_not_found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: &str, expected: Option<Mode>) {
        assert_eq!(Mode::parse(id), expected, "{id}");
    }

    #[test]
    fn ids_name_collection_and_adapter() {
        let text = |it: &str| Some(it.to_owned());
        check("rag", Some(Mode::Rag { collection: None, adapter: None }));
        check("rag:rh", Some(Mode::Rag { collection: text("rh"), adapter: None }));
        check("base", Some(Mode::Plain { adapter: None }));
        check("ft:ton", Some(Mode::Plain { adapter: text("ton") }));
        check("rag+ft:ton", Some(Mode::Rag { collection: None, adapter: text("ton") }));
        check("rag+ft:rh/ton", Some(Mode::Rag { collection: text("rh"), adapter: text("ton") }));
        for id in ["", "rag:", "ft", "ft:", "base:x", "rag+ft:", "rag+ft:/a", "rag+ft:a/", "gpt-4"]
        {
            check(id, None);
        }
    }
}
