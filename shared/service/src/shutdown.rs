//! SIGTERM and SIGINT as a cancellation token.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM (Kubernetes, compose) or SIGINT (Ctrl-C). A second one ends the
/// process at once, with the status that a shell gives for the signal.
///
/// Call it inside a runtime.
///
/// # Errors
/// The handlers can't be installed.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        loop {
            let (name, status) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 128 + 15),
                _ = interrupt.recv() => ("SIGINT", 128 + 2),
            };
            if cancelled.is_cancelled() {
                tracing::warn!("{name} again: ending at once");
                std::process::exit(status);
            }
            tracing::info!("{name}: ending in order");
            cancelled.cancel();
        }
    });
    Ok(token)
}
