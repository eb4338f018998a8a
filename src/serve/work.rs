//! Short work on threads that may wait: searches, embeddings, records.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    error::ApiError,
    gate::{Gate, Ticket},
    state::App,
};

/// Does a search, once there is a place for it.
pub(crate) async fn on_search_place<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    on_place(app, &app.searching, work).await
}

/// Embeds or reranks texts of a client's, once there is a place for it.
pub(crate) async fn on_encoding_place<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    on_place(app, &app.encoding, work).await
}

async fn on_place<T: Send + 'static>(
    app: &Arc<App>,
    gate: &Gate,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = gate.ticket()?.place().await;
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

/// Does long work once its ticket has become a place, on a thread that may wait. What it tells comes
/// through the channel; dropping that ends the waiting, and tells the work that nobody listens.
///
/// Nobody waits for the reader of the channel: it must hold no more than one answer.
pub(crate) fn in_place<T: Send + 'static>(
    app: &Arc<App>,
    ticket: Ticket,
    first: Option<T>,
    work: impl FnOnce(&App, &mpsc::UnboundedSender<T>) + Send + 'static,
) -> mpsc::UnboundedReceiver<T> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let app = Arc::clone(app);
    tokio::spawn(async move {
        if let Some(it) = first {
            // A reader who has left already is noticed below.
            let _ = sender.send(it);
        }
        let place = tokio::select! {
            place = ticket.place() => place,
            () = sender.closed() => return,
        };
        let ran = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&app, &sender);
        });
        if let Err(error) = ran.await {
            tracing::error!(%error, "an answer ended the hard way");
        }
    });
    receiver
}
