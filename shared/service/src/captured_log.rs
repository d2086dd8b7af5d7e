//! What is logged, for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

#[cfg(test)]
use crate::telemetry::{OneLineFields, install_for_tests};

/// What was logged so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// All that this process logs from now on, as far as `filter` (as in `RUST_LOG`) lets it. A log is the process's: for a test
    /// that has one of its own, and before all else in it.
    ///
    /// # Panics
    /// The process has another log.
    pub fn of_process(filter: &str) -> Self {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(log.clone())
            .with_ansi(false)
            .try_init()
            .expect("the process has no other log");
        log
    }

    /// All of it.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines that hold a text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let all = self.text();
        let lines = all.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for CapturedLog {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The lines that `work` logs on this thread, as a service with `LOG_FORMAT=text` writes them.
#[cfg(test)]
pub(crate) fn captured_log(work: impl FnOnce()) -> Vec<String> {
    // Without a subscriber for the whole process, another test's thread may be the first at a line of the log, and
    // `tracing` then remembers for all threads that nobody wants it.
    install_for_tests();
    let log = CapturedLog::default();
    let subscriber = tracing_subscriber::fmt()
        .fmt_fields(OneLineFields::default())
        .with_writer(log.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    log.text()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}
