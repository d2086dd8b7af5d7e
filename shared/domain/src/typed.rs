//! What an operator types: the words of a command that a text names, so that it can be pasted as it stands.

use std::fmt::Display;

/// A word as a shell takes it for one, whatever is in it: names come from outside.
pub fn word(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_name_that_a_shell_would_take_apart_is_quoted_and_an_ordinary_one_is_not() {
        for (name, typed) in [
            ("baremetalhost/metal3/node17", "baremetalhost/metal3/node17"),
            ("reservation-system:5120", "reservation-system:5120"),
            ("lab 7", "'lab 7'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("`reboot`", "'`reboot`'"),
            ("", "''"),
        ] {
            assert_eq!(word(name), typed);
        }
    }
}
