//! Texts from outside, made fit for one line of a log, a page or a terminal.
//!
//! A name that a sender made up may hold line ends and a terminal's control sequences. What is printed raw could forge a
//! line of its own.

use std::borrow::Cow;

/// `text` with its control characters, and what ends or turns round a line, written as `\n` or `\u{1b}`.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unfit(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

fn is_unfit(character: char) -> bool {
    character.is_control()
        // Line and paragraph ends, and what changes the direction of the text after it.
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped_and_all_else_stays_as_it_is() {
        assert_eq!(
            one_line("evil\u{1b}[31m\nFAKE\r\u{9b}2J\u{202e}\u{2028}"),
            "evil\\u{1b}[31m\\nFAKE\\r\\u{9b}2J\\u{202e}\\u{2028}"
        );
        for fine in ["Gi1/0/1", "Rechner für Ärzte", "C:\\node", "日本", ""] {
            assert!(matches!(one_line(fine), Cow::Borrowed(same) if same == fine));
        }
    }
}
