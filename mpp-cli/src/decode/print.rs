//! Writing explained things: aligned text for people, JSON for programs. Printable ASCII only, because the
//! values come from whoever wrote the header and a terminal acts on what it is sent.

use std::fmt::Write as _;

use mpp::protocol::ChallengeError;
use serde_json::{Map, Value, json};

use super::explain::{Field, Item};
use crate::terminal::plain;

/// A heading per thing and a line per field.
pub(crate) fn text(items: &[Item]) -> String {
    let mut out = String::new();
    for (position, item) in items.iter().enumerate() {
        let heading = match items.len() {
            1 => item.kind.to_owned(),
            count => format!("{} ({} of {count})", item.kind, position + 1),
        };
        let width = item.fields.iter().map(|field| field.name.len()).max().unwrap_or_default();
        let mut lines = format!("{heading}\n");
        for Field { name, value, text } in &item.fields {
            let shown = match (text, value) {
                (Some(text), _) => text.clone(),
                (None, Value::String(text)) => text.clone(),
                (None, value) => value.to_string(),
            };
            lines += &format!("  {name:width$}  {}\n", plain(&shown));
        }
        if position > 0 {
            out.push('\n');
        }
        out += &lines;
    }
    out
}

/// `{"found": [{"kind": …, …}], "refused": […]}` and a line break.
pub(crate) fn json(items: &[Item], refused: &[ChallengeError]) -> String {
    let found: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut members = Map::new();
            members.insert("kind".to_owned(), item.kind.into());
            for Field { name, value, .. } in &item.fields {
                members.insert((*name).to_owned(), value.clone());
            }
            Value::Object(members)
        })
        .collect();
    let refused: Vec<Value> = refused.iter().map(|error| error.to_string().into()).collect();
    let document = json!({ "found": found, "refused": refused });
    // Pretty-printing a tree of JSON values to memory cannot fail; the compact form would say the same.
    let pretty = serde_json::to_string_pretty(&document).unwrap_or_else(|_| document.to_string());
    let mut out = String::with_capacity(pretty.len() + 1);
    for c in pretty.chars() {
        match c {
            '\n' | ' '..='~' => out.push(c),
            // Outside strings JSON is ASCII, so this is in one, where the escape means the same.
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &str) -> Item {
        let field = Field { name: "realm", value: value.into(), text: None };
        Item { kind: "challenge", fields: vec![field] }
    }

    #[test]
    fn escape_sequences_line_breaks_and_reversed_text_are_not_passed_to_the_terminal() {
        let text = text(&[item("a\x1b[2J\nb\u{9b}\u{202e}c")]);
        assert_eq!(text, "challenge\n  realm  a\\u{1b}[2J\\u{a}b\\u{9b}\\u{202e}c\n");
    }

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let out = json(&[item("caf\u{e9} \u{1f4b0} \u{9b}")], &[]);
        assert!(out.is_ascii());
        let parsed: Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(parsed["found"][0]["realm"], "caf\u{e9} \u{1f4b0} \u{9b}");
    }

    #[test]
    fn several_things_are_numbered() {
        assert!(text(&[item("a"), item("b")]).contains("challenge (2 of 2)"));
    }
}
