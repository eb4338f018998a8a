//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use model::embed::TextRole;
use serde::Deserialize;
use serde_json::{Value, json};

use super::models::unknown;
use crate::{
    embedder::EmbedError,
    serve::{access::Reader, error::ApiError, extract::Body, state::App, work::on_encoding_place},
};

/// Texts of one request at most, as OpenAI has it.
const INPUTS_MAX: usize = 2_048;

/// `POST /v1/embeddings`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct EmbeddingsRequest {
    /// The embedder's id.
    model: String,
    /// A text, or several.
    #[schema(value_type = Value)]
    input: Input,
    /// `float` or `base64`.
    #[serde(default)]
    encoding_format: Option<String>,
    /// Only the embedder's own number.
    #[serde(default)]
    dimensions: Option<usize>,
    /// `query` for texts that search; otherwise they are passages.
    #[serde(default)]
    input_type: Option<String>,
}

/// What is to be embedded.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    Other(Value),
}

impl Input {
    fn texts(self) -> Result<Vec<String>, ApiError> {
        let refuse = |why: &str| Err(ApiError::bad_field("input", why));
        match self {
            Self::One(it) => Ok(vec![it]),
            Self::Many(all) => Ok(all),
            // Read as ids of our tokenizer they would be other words, and their vectors nonsense.
            Self::Other(it) if is_tokens(&it) => refuse(
                "input holds token ids, of a tokenizer that is not this model's: send texts \
                 (LangChain: `OpenAIEmbeddings(check_embedding_ctx_length=False)`)",
            ),
            Self::Other(_) => refuse("input must be a text or a list of texts"),
        }
    }
}

/// Token ids, of one text or of several.
fn is_tokens(input: &Value) -> bool {
    let first = |it: &Value| it.as_array().and_then(|it| it.first()).cloned();
    let begins = first(input);
    let inner = begins.as_ref().and_then(first);
    begins.is_some_and(|it| it.is_u64()) || inner.is_some_and(|it| it.is_u64())
}

/// Turns texts into unit vectors with the embedder of the index.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI", request_body = EmbeddingsRequest,
    responses((status = 200, description = "Vectors in the order of the texts", body = Value),
              (status = 400, description = "The request cannot be answered as it stands", body = Value)))]
pub(crate) async fn embed(
    State(app): State<Arc<App>>,
    _: Reader,
    Body(request): Body<EmbeddingsRequest>,
) -> Result<Json<Value>, ApiError> {
    if request.model != app.embedder {
        return Err(unknown(&request.model));
    }
    let embedder = &app.engine.embedder;
    if request.dimensions.is_some_and(|it| it != embedder.dim()) {
        let why = format!("this embedder gives {} dimensions, and no other number", embedder.dim());
        return Err(ApiError::bad_field("dimensions", why));
    }
    let is_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let why = "encoding_format must be `float` or `base64`";
            return Err(ApiError::bad_field("encoding_format", why));
        }
    };
    let role = match request.input_type.as_deref() {
        Some("query") => TextRole::Query,
        _ => TextRole::Passage,
    };
    let texts = request.input.texts()?;
    if texts.is_empty() || texts.len() > INPUTS_MAX || texts.iter().any(String::is_empty) {
        let why = format!("input must be 1 to {INPUTS_MAX} texts, none of them empty");
        return Err(ApiError::bad_field("input", why));
    }
    let model = request.model;
    let out = on_encoding_place(&app, move |app| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let embedder = &app.engine.embedder;
        let embedded = embedder.embed(&texts, role).map_err(|error| match &error {
            EmbedError::Upstream(_) => crate::engine::AskError::from(error).into(),
            EmbedError::Local(_) => ApiError::internal(&error),
        })?;
        let data = embedded.rows().enumerate().map(|(i, row)| {
            let embedding = if is_base64 {
                let bytes: Vec<u8> = row.iter().flat_map(|it| it.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            } else {
                json!(row)
            };
            json!({ "object": "embedding", "index": i, "embedding": embedding })
        });
        let n_tokens: usize = texts.iter().map(|it| embedder.count_tokens(it)).sum();
        Ok(json!({
            "object": "list",
            "data": data.collect::<Vec<Value>>(),
            "model": model,
            "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
            // Texts that the embedder did not read to their end.
            "truncated": embedded.n_truncated,
        }))
    })
    .await?;
    Ok(Json(out))
}
