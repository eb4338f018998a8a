//! LoRA adapters of the generator.

use std::{path::PathBuf, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use model::adapters::LoadedAdapter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Admin, Reader},
    error::ApiError,
    extract::{Body, Id},
    state::App,
    work::on_thread,
};
use crate::{
    records::Scope,
    session::adapters::is_adapter_name,
    stale::{Documents, record_of},
    writer::{LocalModel, Writer},
};

impl App {
    /// Names of the adapters that are loaded.
    pub(crate) fn adapters(&self) -> Vec<String> {
        match &*self.engine.writer {
            Writer::Model(model) => model.adapters().into_iter().map(|it| it.name).collect(),
            Writer::Upstream(_) | Writer::Extract { .. } => Vec::new(),
        }
    }

    /// Whether there is a generator that can be asked by itself.
    pub(crate) fn writes(&self) -> bool {
        !matches!(*self.engine.writer, Writer::Extract { .. })
    }

    pub(crate) fn local_model(&self) -> Result<&LocalModel, ApiError> {
        match &*self.engine.writer {
            Writer::Model(model) => Ok(model),
            Writer::Upstream(_) | Writer::Extract { .. } => Err(ApiError::conflict(
                "adapters go with a generator of this process, and there is none",
            )),
        }
    }
}

/// `POST /v1/adapters`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct AdapterRequest {
    /// What requests will call it.
    #[serde(alias = "lora_name")]
    name: String,
    /// A PEFT folder or a GGUF file on the server's machine.
    #[serde(alias = "lora_path")]
    #[schema(value_type = String)]
    path: PathBuf,
}

/// `POST /v1/unload_lora_adapter`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct UnloadRequest {
    #[serde(alias = "name")]
    lora_name: String,
}

/// An adapter as it is told. Where it lies on the server's machine is for administrators.
fn describe(it: &LoadedAdapter, reader: &Reader) -> Value {
    let mut res = json!({
        "name": it.name,
        "matrices": it.n_matrices,
        "requests": it.n_requests,
        "loaded": true,
    });
    if reader.may(Scope::Admin) {
        res["path"] = json!(it.path.display().to_string());
    }
    res
}

/// The same, with how many of the documents that it was trained on have changed or gone. Which ones
/// is for those who may read them: `souffleur adapters show`.
fn describe_with(
    it: &LoadedAdapter,
    reader: &Reader,
    documents: Option<&Documents>,
) -> Result<Value, ApiError> {
    let mut res = describe(it, reader);
    let record = record_of(&it.path).map_err(|error| ApiError::internal(&error))?;
    let stale = documents.zip(record).and_then(|(all, record)| all.stale(&record));
    res["training"] = stale.map_or(Value::Null, |it| it.json(false));
    Ok(res)
}

/// Lists the adapters that are loaded.
#[utoipa::path(get, path = "/v1/adapters", tag = "Adapters",
    responses((status = 200, description = "`data`", body = Value)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let data = on_thread(&app, move |app| {
        let loaded = match &*app.engine.writer {
            Writer::Model(model) => model.adapters(),
            Writer::Upstream(_) | Writer::Extract { .. } => Vec::new(),
        };
        let documents = Documents::of_index(&app.session.config.data_dir)?;
        let told = loaded.iter().map(|it| describe_with(it, &reader, documents.as_ref()));
        told.collect::<Result<Vec<_>, _>>()
    })
    .await?;
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Loads an adapter, or another one under a name that is there: requests that run keep theirs.
#[utoipa::path(post, path = "/v1/adapters", tag = "Adapters", request_body = AdapterRequest,
    responses((status = 201, description = "It is loaded", body = Value),
              (status = 400, description = "It cannot be loaded, and why", body = Value)))]
pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Admin(reader): Admin,
    Body(request): Body<AdapterRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let name = request.name.trim().to_owned();
    if !is_adapter_name(&name) {
        let why = "a name has letters, digits, `-`, `_` and `.`";
        return Err(ApiError::bad_field("name", why));
    }
    let out = on_thread(&app, move |app| {
        let model = app.local_model()?;
        model.load_adapter(&name, &request.path).map_err(|error| {
            ApiError::bad_field("path", format!("{:#}", anyhow::Error::new(error)))
        })?;
        app.audit(&reader, "adapter.load", Some(&name), None)?;
        let loaded = model.adapters().into_iter().find(|it| it.name == name);
        let told = loaded.as_ref().map(|it| describe(it, &reader));
        told.ok_or_else(|| ApiError::not_found("adapter", &name))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(out)))
}

/// Unloads an adapter: requests that run keep it to their end.
#[utoipa::path(delete, path = "/v1/adapters/{name}", tag = "Adapters",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is unloaded", body = Value),
              (status = 404, description = "There is no such adapter", body = Value)))]
pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    Admin(reader): Admin,
    Id(name): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let model = app.local_model()?;
        if !model.unload_adapter(&name) {
            return Err(ApiError::not_found("adapter", &name));
        }
        app.audit(&reader, "adapter.unload", Some(&name), None)?;
        Ok(json!({ "name": name, "loaded": false }))
    })
    .await?;
    Ok(Json(out))
}

/// As `POST /v1/adapters`, under vLLM's name.
#[utoipa::path(post, path = "/v1/load_lora_adapter", tag = "Adapters", request_body = AdapterRequest,
    responses((status = 201, description = "It is loaded", body = Value)))]
pub(crate) async fn load_as_vllm(
    state: State<Arc<App>>,
    admin: Admin,
    request: Body<AdapterRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    load(state, admin, request).await
}

/// As `DELETE /v1/adapters/{name}`, under vLLM's name.
#[utoipa::path(post, path = "/v1/unload_lora_adapter", tag = "Adapters", request_body = UnloadRequest,
    responses((status = 200, description = "It is unloaded", body = Value)))]
pub(crate) async fn unload_as_vllm(
    state: State<Arc<App>>,
    admin: Admin,
    Body(request): Body<UnloadRequest>,
) -> Result<Json<Value>, ApiError> {
    unload(state, admin, Id(request.lora_name)).await
}
