//! Short work on threads that may wait: searches, embeddings, records.

use std::sync::Arc;

use super::{error::ApiError, state::App};

/// Does work that computes, once there is a place for it.
pub(crate) async fn on_search_place<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = app.searching.ticket()?.place().await;
    on_thread(app, move |app| {
        let _place = place;
        work(app)
    })
    .await
}

/// Does work that waits for the disk.
pub(crate) async fn on_thread<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let app = Arc::clone(app);
    match tokio::task::spawn_blocking(move || work(&app)).await {
        Ok(outcome) => outcome,
        Err(error) => Err(ApiError::internal(&error)),
    }
}
