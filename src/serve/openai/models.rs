//! Model ids: one for each collection and mode.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::serve::{access::Reader, error::ApiError, extract::Id, state::App, work::on_thread};

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
                // The name of a collection may hold a slash, that of an adapter does not.
                let (collection, adapter) = match rest.rsplit_once('/') {
                    Some((collection, adapter)) => (Some(named(collection)?), named(adapter)?),
                    None => (None, rest),
                };
                Some(Self::Rag { collection, adapter: Some(adapter) })
            }
            _ => None,
        }
    }
}

/// Every model id that the reader may use. Reads the catalog: not for threads that must not wait.
fn known_models(app: &App, reader: &Reader) -> Result<Vec<String>, ApiError> {
    let groups = reader.groups();
    let collections = app.engine.index.catalog().collection_names(groups.as_deref())?;
    let mut res = vec!["rag".to_owned()];
    res.extend(collections.iter().map(|it| format!("rag:{it}")));
    if app.writes() {
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

/// Whether a model id is among [`known_models`], without looking at all of them.
fn is_known(app: &App, reader: &Reader, id: &str) -> Result<bool, ApiError> {
    let is_loaded = |adapter: Option<String>| adapter.is_none_or(|it| app.adapters().contains(&it));
    let is_there = |collection: Option<String>| match collection {
        None => Ok(true),
        Some(name) => {
            let groups = reader.groups();
            app.engine.index.catalog().has_collection(&name, groups.as_deref())
        }
    };
    match Mode::parse(id) {
        Some(Mode::Rag { collection, adapter }) => Ok(is_loaded(adapter) && is_there(collection)?),
        Some(Mode::Plain { adapter }) => Ok(app.writes() && is_loaded(adapter)),
        None => Ok(id == app.embedder || Some(id) == app.reranker.as_deref()),
    }
}

/// Refuses what is no model for this reader.
pub(super) async fn check_known(app: &Arc<App>, reader: &Reader, id: &str) -> Result<(), ApiError> {
    let (reader, id) = (reader.clone(), id.to_owned());
    on_thread(app, move |app| match is_known(app, &reader, &id)? {
        true => Ok(()),
        false => Err(unknown(&id)),
    })
    .await
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
    let models = on_thread(&app, move |app| known_models(app, &reader)).await?;
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
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    check_known(&app, &reader, &id).await?;
    Ok(Json(model(&app, &id)))
}

/// The same for `rag+ft:rh/ton`, whose slash some clients leave as it is.
pub(crate) async fn get_with_slash(
    state: State<Arc<App>>,
    reader: Reader,
    Id((start, rest)): Id<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    get(state, reader, Id(format!("{start}/{rest}"))).await
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
        let parts = Mode::Rag { collection: text("rh/paie"), adapter: text("ton") };
        check("rag+ft:rh/paie/ton", Some(parts));
        for id in ["", "rag:", "ft", "ft:", "base:x", "rag+ft:", "rag+ft:/a", "rag+ft:a/", "gpt-4"]
        {
            check(id, None);
        }
    }
}
