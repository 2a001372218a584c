//! Words of files in messages: whoever made a file chose them, and a terminal obeys some of them.

/// The most characters of a name or value that a message shows.
const NAME: usize = 80;
/// The most characters of a whole message about a file.
const MESSAGE: usize = 1000;

/// A name or value out of a file: at most 80 characters, its control characters and marks of direction escaped.
pub fn shown(text: &str) -> String {
    within(text, NAME)
}

/// A message that has words of a file in it, escaped as [`shown`] does and at most 1000 characters long.
pub fn message(text: &str) -> String {
    within(text, MESSAGE)
}

fn within(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most + '…'.len_utf8()));
    let mut left = most;
    for character in text.chars() {
        let Some(rest) = left.checked_sub(1) else {
            out.push('…');
            break;
        };
        left = rest;
        match obeyed(character) {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out
}

/// Whether a terminal does something else than show this character.
fn obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_is_cut() {
        for (text, expected) in [
            ("backbone.norm.weight", "backbone.norm.weight"),
            ("Schicht/ü", "Schicht/ü"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("one\nnote two\r", "one\\nnote two\\r"),
            ("\u{9b}2J\u{7}", "\\u{9b}2J\\u{7}"),
            ("\u{202e}cod.exe", "\\u{202e}cod.exe"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"k".repeat(80)), "k".repeat(80));
        assert_eq!(shown(&"é".repeat(1 << 20)), format!("{}…", "é".repeat(80)));
        assert_eq!(message(&"m".repeat(1 << 20)).chars().count(), 1001);
    }
}
