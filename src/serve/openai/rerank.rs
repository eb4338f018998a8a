//! `POST /v1/rerank`, in the shape that Jina, Cohere and vLLM share.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::models::unknown;
use crate::serve::{
    access::Reader, error::ApiError, extract::Body, state::App, work::on_encoding_place,
};

/// Documents of one request at most.
const DOCUMENTS_MAX: usize = 1_000;

/// `POST /v1/rerank`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct RerankRequest {
    /// The reranker's id.
    model: String,
    /// The question.
    query: String,
    /// Texts, or objects with a `text`.
    #[schema(value_type = Vec<Value>)]
    documents: Vec<Text>,
    /// How many to return; all where not given.
    #[serde(default)]
    top_n: Option<usize>,
    /// Whether the documents come back with their scores.
    #[serde(default)]
    return_documents: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Object { text: String },
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Object { text } => text,
        }
    }
}

/// Puts texts in the order in which they bear on a question.
#[utoipa::path(post, path = "/v1/rerank", tag = "OpenAI", request_body = RerankRequest,
    responses((status = 200, description = "Results, best first: `index` and `relevance_score`", body = Value),
              (status = 404, description = "There is no such reranker", body = Value)))]
pub(crate) async fn rerank(
    State(app): State<Arc<App>>,
    _: Reader,
    Body(request): Body<RerankRequest>,
) -> Result<Json<Value>, ApiError> {
    if app.reranker.as_deref() != Some(request.model.as_str()) {
        return Err(unknown(&request.model));
    }
    if request.query.is_empty() {
        return Err(ApiError::bad_field("query", "the query is empty"));
    }
    if request.documents.is_empty() || request.documents.len() > DOCUMENTS_MAX {
        let why = format!("documents must be 1 to {DOCUMENTS_MAX} texts");
        return Err(ApiError::bad_field("documents", why));
    }
    let out = on_encoding_place(&app, move |app| {
        let Some(reranker) = &app.engine.reranker else { return Err(unknown(&request.model)) };
        let texts: Vec<&str> = request.documents.iter().map(Text::as_str).collect();
        let scored =
            reranker.score(&request.query, &texts).map_err(|error| ApiError::internal(&error))?;
        let mut order: Vec<(usize, f32)> =
            scored.scores.iter().map(|it| it.score).enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(request.top_n.unwrap_or(order.len()));
        let results = order.iter().map(|&(i, score)| {
            let mut res = json!({ "index": i, "relevance_score": score });
            if request.return_documents == Some(true) {
                res["document"] = json!({ "text": texts[i] });
            }
            res
        });
        Ok(json!({
            "object": "list",
            "model": request.model,
            "results": results.collect::<Vec<Value>>(),
            "usage": { "total_tokens": scored.n_tokens },
            "truncated": scored.n_truncated,
        }))
    })
    .await?;
    Ok(Json(out))
}
