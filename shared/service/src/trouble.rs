//! Something that is tried again and again: a warning when it begins to fail, a line when it works again, and none between.

use std::error::Error;

/// Whether it fails now.
#[derive(Debug)]
pub struct Trouble {
    what: &'static str,
    is_on: bool,
}

impl Trouble {
    /// None yet. `what`: what can't be done, as it follows upon "cannot".
    #[must_use]
    pub fn with(what: &'static str) -> Self {
        Self { what, is_on: false }
    }

    /// It was tried.
    pub fn note<E: Error + 'static>(&mut self, tried: Result<(), E>) {
        let what = self.what;
        match tried {
            Err(error) if !std::mem::replace(&mut self.is_on, true) => {
                tracing::warn!(error = &error as &dyn Error, "cannot {what}; trying again");
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn Error, "still cannot {what}");
            }
            Ok(()) if std::mem::take(&mut self.is_on) => tracing::info!("can {what} again"),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::captured_log::captured_log;

    #[test]
    fn one_line_when_it_begins_and_one_when_it_is_over() {
        let mut trouble = Trouble::with("reach the broker");
        let lines = captured_log(|| {
            trouble.note::<io::Error>(Ok(()));
            for _ in 0..3 {
                trouble.note(Err(io::Error::other("it is away")));
            }
            for _ in 0..3 {
                trouble.note::<io::Error>(Ok(()));
            }
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].starts_with("WARN") && lines[0].contains("it is away"));
        assert!(lines[1].starts_with("INFO") && lines[1].contains("can reach the broker again"));
    }
}
