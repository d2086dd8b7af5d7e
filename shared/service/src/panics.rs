//! A panic of one piece of work: an error like others, so that what is poisonous is counted, told of, and given up.
//!
//! What a panic says may hold what it stumbled over, a key or a name in a payload. So only its place is kept, and words that
//! stand in the code as they are; [`log_them`] takes the place of the standard library's words on standard error.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// How often a message is handed out whose handling panics, as another version of the service may handle it; then it is a dead
/// letter.
pub const TRIES: u64 = 5;

/// A piece of work panicked: a bug, which the same work meets again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("handling it panicked{}", Told(.place.as_deref(), *.says))]
pub struct Panicked {
    /// Where in the code, if [`log_them`] was called.
    pub place: Option<String>,
    /// What the panic said, where nothing was put into it.
    pub says: Option<&'static str>,
}

struct Told<'a>(Option<&'a str>, Option<&'a str>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, " at {place}"))?;
        self.1.map_or(Ok(()), |says| write!(f, ": {says}"))
    }
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on each panic of this process is one line of the log, with its place and nothing that was put into its words.
pub fn log_them() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let says = words_of(panic.payload());
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        let backtrace = backtrace.map(|it| it.to_string());
        tracing::error!(place, says, backtrace, "a panic: a bug of Bellhop");
        // While a thread ends its own values may be gone.
        let _ = PLACE.try_with(|last| last.replace(place));
    }));
}

/// Does `work`; what it holds is dropped if it panics.
///
/// # Errors
/// It panicked.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| match caught_now(|| work.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// As [`caught`], for work that never waits.
///
/// # Errors
/// It panicked.
pub fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked {
        place: PLACE.take(),
        says: words_of(panic.as_ref()),
    })
}

/// Only words without anything put into them are static text.
fn words_of(panic: &(dyn Any + Send)) -> Option<&'static str> {
    panic.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::hint::black_box;
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_own_words_and_keeps_nothing() {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let panicked = caught(async move {
            let _holds = holds;
            tokio::task::yield_now().await;
            panic!("no host")
        });
        let panicked: Result<(), _> = panicked.await;
        assert!(panicked.is_err_and(|panicked| panicked.says == Some("no host")));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(caught(async { 1 }).await, Ok(1));
    }

    #[test]
    fn what_was_put_into_the_words_of_a_panic_is_in_no_error() {
        let panicked = caught_now(|| panic!("no host for {}", black_box("mara@example.org")));
        let panicked: Result<(), _> = panicked;
        let text = panicked.map_err(|panicked| panicked.to_string());
        assert!(
            text.as_ref().is_err_and(|text| !text.contains("mara")),
            "{text:?}"
        );
    }
}
