//! SIGTERM and SIGINT as a cancellation token, and the time that a service has to end after it.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a service may take to end once it is told to. Kubernetes gives a pod 30 s; 3 s of them are for the last traces.
pub const STOP_TIME: Duration = Duration::from_secs(24);

/// Does `work`, for at most `limit` from when `stop` is cancelled. None where it had not ended by then: it is dropped, and the
/// log says so. Whatever hangs, a service ends in order to be started again.
pub async fn in_time<T>(
    service: &str,
    stop: &CancellationToken,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = overdue => {
            tracing::warn!(
                service,
                "it has not ended {} s after it was told to: it ends now; what it had in hand is handled after the next start",
                limit.as_secs()
            );
            None
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_left_when_the_time_to_stop_is_over_and_not_before() {
        let stop = CancellationToken::new();
        let started = tokio::time::Instant::now();
        let told = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            told.cancel();
        });
        let ended = in_time("test", &stop, STOP_TIME, pending::<()>()).await;
        assert_eq!(ended, None);
        assert_eq!(started.elapsed(), Duration::from_secs(1000) + STOP_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_says_how() {
        let stop = CancellationToken::new();
        stop.cancel();
        let work = async {
            tokio::time::sleep(STOP_TIME / 2).await;
            7
        };
        assert_eq!(in_time("test", &stop, STOP_TIME, work).await, Some(7));
    }
}
