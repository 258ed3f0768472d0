//! A credential as nearly every client writes it, read without a general JSON parser.
//!
//! Reading the JSON was two fifths of what a forged credential cost, and a server reads what strangers send as often as they
//! like. What programs write is plain: no escapes, no white space but spaces, strings where strings are expected. [`read`]
//! reads exactly that, borrows all of it, and finds the ends of strings many bytes at a time. It never refuses anything: it
//! answers `None` to whatever it does not know, an error included, and `serde_json` judges that. Whatever it does read,
//! `serde_json` reads to the same: debug builds, and with them every test and the fuzzer, hold each credential against it.

use std::borrow::Cow;

use super::credential::{ChallengeRef, CredentialRef, RawPayload};

/// How deep the objects in a plain payload are nested.
const DEPTH: usize = 4;

/// The credential, if it is plain.
pub(super) fn read<'a>(json: &'a str) -> Option<CredentialRef<'a>> {
    // The least byte: without a way out in the middle the compiler looks at many at once.
    let least = json.bytes().fold(u8::MAX, u8::min);
    if least < b' ' || memchr::memchr(b'\\', json.as_bytes()).is_some() {
        return None;
    }
    let mut text = Plain { json, at: 0 };
    let (mut echo, mut source, mut payload) = (None, None, None);
    text.object(|name, text| match name {
        "challenge" => once(&mut echo, text.echo()?),
        "source" => once(&mut source, text.string()?),
        "payload" => once(&mut payload, text.raw_object()?),
        _ => text.skip(DEPTH),
    })?;
    let (echo, payload) = (echo?, payload?);
    if !text.is_over() {
        return None;
    }
    let optional = |text: Option<&'a str>| text.filter(|text| !text.is_empty()).map(Cow::Borrowed);
    Some(CredentialRef {
        challenge: ChallengeRef {
            id: Cow::Borrowed(echo.id?),
            realm: Cow::Borrowed(echo.realm?),
            method: Cow::Borrowed(echo.method?),
            intent: Cow::Borrowed(echo.intent?),
            request: Cow::Borrowed(echo.request?),
            expires: optional(echo.expires),
            digest: optional(echo.digest),
            opaque: optional(echo.opaque),
            description: optional(echo.description),
        },
        source: source.map(Cow::Borrowed),
        payload: RawPayload(payload),
    })
}

/// The members of a challenge that were there.
#[derive(Default)]
struct Echo<'a> {
    id: Option<&'a str>,
    realm: Option<&'a str>,
    method: Option<&'a str>,
    intent: Option<&'a str>,
    request: Option<&'a str>,
    expires: Option<&'a str>,
    digest: Option<&'a str>,
    opaque: Option<&'a str>,
    description: Option<&'a str>,
}

/// A member that occurs twice is an error, and errors are not told here.
fn once<T>(member: &mut Option<T>, value: T) -> Option<()> {
    member.replace(value).is_none().then_some(())
}

/// JSON without escapes and control characters: a string ends at the next quote.
struct Plain<'a> {
    json: &'a str,
    /// What is read so far, in bytes.
    at: usize,
}

impl<'a> Plain<'a> {
    fn object(&mut self, mut member: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.token(b'{')?;
        if self.token(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.name()?;
            self.token(b':')?;
            member(name, self)?;
            if self.token(b',').is_none() {
                return self.token(b'}');
            }
        }
    }

    fn echo(&mut self) -> Option<Echo<'a>> {
        let mut echo = Echo::default();
        self.object(|name, text| {
            let known = match name {
                "id" => &mut echo.id,
                "realm" => &mut echo.realm,
                "method" => &mut echo.method,
                "intent" => &mut echo.intent,
                "request" => &mut echo.request,
                "expires" => &mut echo.expires,
                "digest" => &mut echo.digest,
                "opaque" => &mut echo.opaque,
                "description" => &mut echo.description,
                _ => return text.skip(DEPTH),
            };
            once(known, text.string()?)
        })?;
        Some(echo)
    }

    /// An object, as text.
    fn raw_object(&mut self) -> Option<&'a str> {
        self.skip_spaces();
        let start = self.at;
        self.object(|_, text| text.skip(DEPTH))?;
        self.json.get(start..self.at)
    }

    /// A string, or an object of such, up to a depth.
    fn skip(&mut self, depth: usize) -> Option<()> {
        self.skip_spaces();
        if self.peek() == Some(b'"') {
            return self.string().map(|_| ());
        }
        let deeper = depth.checked_sub(1)?;
        self.object(|_, text| text.skip(deeper))
    }

    /// The name of a member. Nearly every one ends within a word, and is not worth a call.
    fn name(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let rest = self.json.as_bytes().get(self.at..)?;
        let near = rest.first_chunk().and_then(|word| quote_in(u64::from_le_bytes(*word)));
        self.up_to_quote(near.or_else(|| memchr::memchr(b'"', rest))?)
    }

    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let rest = self.json.as_bytes().get(self.at..)?;
        self.up_to_quote(memchr::memchr(b'"', rest)?)
    }

    fn up_to_quote(&mut self, length: usize) -> Option<&'a str> {
        let start = self.at;
        self.at += length + 1;
        self.json.get(start..start + length)
    }

    fn token(&mut self, token: u8) -> Option<()> {
        if self.peek() != Some(token) {
            self.skip_spaces();
            if self.peek() != Some(token) {
                return None;
            }
        }
        self.at += 1;
        Some(())
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn is_over(&mut self) -> bool {
        self.skip_spaces();
        self.at == self.json.len()
    }
}

/// Where in eight bytes the first quote is: the lowest byte that becomes zero under a mask of quotes, and so borrows.
fn quote_in(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = word ^ (ONES * 0x22);
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ECHO: &str = r#"{"id":"a","realm":"r","method":"tempo","intent":"charge","request":"e30","expires":"2026-11-21T10:05:00Z","opaque":"e30"}"#;

    const PIECES: &[&str] = &[
        "\"",
        "{",
        "}",
        "{}",
        ":",
        ",",
        " ",
        "\"a\"",
        "\"b\":",
        "\"c\":\"d\"",
        "\"new\":",
        "\"payload\":{}",
        "\"source\":\"s\"",
        "}}",
        "[]",
        "1",
        "null",
        "é",
    ];

    fn is_read(json: &str) -> bool {
        let read = read(json);
        if let Some(read) = &read {
            let general = serde_json::from_str(json);
            assert!(general.is_ok_and(|general| read.is(&general)), "{json}");
        }
        read.is_some()
    }

    #[test]
    fn what_programs_write_is_read_here() {
        for json in [
            format!(
                r#"{{"challenge":{ECHO},"payload":{{"hash":"0xabc","type":"hash"}},"source":"did:key:zé"}}"#
            ),
            format!(r#"{{"source": "", "payload": {{"a": "b", "c": {{}}}}, "challenge": {ECHO}}} "#),
            format!(r#"{{"challenge":{ECHO},"payload":{{"a":{{"b":{{"c":"d"}}}}}},"new":{{"id":"x"}}}}"#),
            format!(
                r#"{{"challenge":{},"payload":{{"source":"x"}}}}"#,
                ECHO.replace(
                    r#""e30"}"#,
                    r#""","digest":"","description":"a price","new":"x","id2":{"id":"b"}}"#
                )
            ),
        ] {
            assert!(is_read(&json), "{json}");
        }
    }

    #[test]
    fn what_is_not_plain_or_not_right_is_left_to_the_general_parser() {
        let payload = r#""payload":{}"#;
        for json in [
            String::new(),
            "{}".to_owned(),
            format!(r#"{{"challenge":{ECHO}}}"#),
            format!(r#"{{{payload}}}"#),
            format!(r#"{{"challenge":{ECHO},"challenge":{ECHO},{payload}}}"#),
            format!(r#"{{"challenge":{ECHO},{payload},{payload}}}"#),
            format!(r#"{{"challenge":{ECHO},{payload},"source":null}}"#),
            format!(r#"{{"challenge":{ECHO},{payload},"source":1}}"#),
            format!(r#"{{"challenge":{ECHO},{payload},}}"#),
            format!(r#"{{"challenge":{ECHO},{payload}}}x"#),
            format!(r#"{{"challenge":{ECHO} {payload}}}"#),
            format!(r#"{{"challenge":{ECHO},"payload":[]}}"#),
            format!(r#"{{"challenge":{ECHO},"payload":{{"n":1}}}}"#),
            format!(r#"{{"challenge":{ECHO},"payload":{{"n":"\u0061"}}}}"#),
            format!("{{\"challenge\":{ECHO},\n{payload}}}"),
            format!("{{\"challenge\":{ECHO},\"payload\":{{\"n\":\"\t\"}}}}"),
            format!(r#"{{"challenge":{ECHO},"payload":{{"a":"b}}}}"#),
            format!(r#"{{"challenge":{ECHO},"payload":{{"a":"{{}}}}}}"#),
            format!(r#"{{"challenge":{ECHO},{payload},"new":"{{}}}}"#),
            format!(r#"{{"challenge":{},{payload}}}"#, ECHO.replace(r#""id":"a","#, "")),
            format!(r#"{{"challenge":{},{payload}}}"#, ECHO.replace(r#""id":"a""#, r#""id":"a","id":"b""#)),
            format!(r#"{{"challenge":{ECHO},"payload":{}{}}}"#, r#"{"a":"#.repeat(9), "}".repeat(9)),
        ] {
            assert!(!is_read(&json), "{json}");
        }
    }

    proptest! {
        #[test]
        fn pieces_of_json_in_any_order_are_read_as_the_general_parser_reads_them(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
        ) {
            is_read(&format!(r#"{{"challenge":{ECHO},"payload":{{"a":{}"#, pieces.concat()));
            is_read(&format!(r#"{{"challenge":{ECHO},"payload":{{}}{}"#, pieces.concat()));
        }

        #[test]
        fn a_quote_is_found_in_a_word_where_it_is(bytes in proptest::array::uniform8(prop_oneof![Just(b'"'), any::<u8>()])) {
            let first = bytes.iter().position(|byte| *byte == b'"');
            prop_assert_eq!(quote_in(u64::from_le_bytes(bytes)), first);
        }

        #[test]
        fn one_byte_more_less_or_other_is_read_as_the_general_parser_reads_it(
            at in 0_usize..300, byte in r#"[ -~\t\né]"#, what in 0..3,
        ) {
            let json = format!(r#"{{"challenge":{ECHO}, "payload":{{"a":"b", "c":{{"d":"e"}}}},"source":"s","new":"n"}}"#);
            let at = at % json.len();
            let end = if what == 0 { at } else { at + 1 };
            let byte = if what == 1 { "" } else { byte.as_str() };
            is_read(&[&json[..at], byte, &json[end..]].concat());
        }
    }
}
