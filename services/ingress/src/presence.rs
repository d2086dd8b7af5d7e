//! Whether the broker is there, as far as anybody knows: it may answer questions and still store nothing, as one does whose
//! disk is full.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What is known of the broker.
#[derive(Debug)]
pub(crate) struct Presence {
    /// It answered when it was last asked.
    answers: watch::Sender<bool>,
    /// It did not confirm the last message that was sent to it.
    is_silent: AtomicBool,
}

impl Presence {
    /// It was never asked.
    pub(crate) fn new() -> Self {
        Self {
            answers: watch::Sender::new(false),
            is_silent: AtomicBool::new(false),
        }
    }

    /// It was asked, and answered or not. An answer does not mean that it would store anything.
    pub(crate) fn asked(&self, has_answered: bool) {
        self.answers.send_replace(has_answered);
    }

    /// It did not confirm a message in time. Before it was asked again nobody knows whether it answers at all.
    pub(crate) fn did_not_confirm(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
        self.answers.send_replace(false);
    }

    /// It confirmed a message.
    pub(crate) fn confirmed(&self) {
        self.is_silent.store(false, Ordering::Relaxed);
        self.answers.send_replace(true);
    }

    /// Whether it did not confirm the last message.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Whether it answers and stores, as far as is known.
    pub(crate) fn is_there(&self) -> bool {
        *self.answers.borrow() && !self.is_silent()
    }

    /// Returns once it answers: then it is worth a try.
    pub(crate) async fn until_it_answers(&self) {
        // The sender is ours, so it does not fail.
        let _ours = self
            .answers
            .subscribe()
            .wait_for(|answers| *answers)
            .await
            .is_ok();
    }

    /// Returns once it answers after it did not.
    pub(crate) async fn until_it_answers_again(&self) {
        let mut answers = self.answers.subscribe();
        let _ours = answers.wait_for(|answers| !*answers).await.is_ok();
        let _ours = answers.wait_for(|answers| *answers).await.is_ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_answer_does_not_end_a_silence_but_makes_it_worth_a_try() {
        let presence = Presence::new();
        assert!(!presence.is_there());
        presence.asked(true);
        assert!(presence.is_there());
        presence.did_not_confirm();
        assert!(presence.until_it_answers().now_or_never().is_none());
        presence.asked(true);
        assert!(presence.is_silent() && !presence.is_there());
        assert!(presence.until_it_answers().now_or_never().is_some());
        presence.confirmed();
        assert!(presence.is_there());
        presence.asked(false);
        assert!(!presence.is_there() && !presence.is_silent());
    }

    #[tokio::test]
    async fn who_waits_for_its_return_waits_until_it_was_away_and_answers() {
        let presence = Presence::new();
        presence.asked(true);
        let mut back = std::pin::pin!(presence.until_it_answers_again());
        assert!(back.as_mut().now_or_never().is_none());
        presence.asked(false);
        assert!(back.as_mut().now_or_never().is_none());
        presence.asked(true);
        assert!(back.as_mut().now_or_never().is_some());
    }
}
