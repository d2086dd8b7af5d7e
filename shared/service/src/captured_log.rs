//! What a piece of code logs, for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::{OneLineFields, install_for_tests};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
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

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The lines that `work` logs on this thread, as a service with `LOG_FORMAT=text` writes them.
pub(crate) fn captured_log(work: impl FnOnce()) -> Vec<String> {
    // Without a subscriber for the whole process, another test's thread may be the first at a line of the log, and
    // `tracing` then remembers for all threads that nobody wants it.
    install_for_tests();
    let buffer = Buffer::default();
    let subscriber = tracing_subscriber::fmt()
        .fmt_fields(OneLineFields::default())
        .with_writer(buffer.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}
