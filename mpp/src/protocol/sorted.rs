//! Canonical JSON (RFC 8785) of what nearly everybody sends, in one pass over the text.
//!
//! What `serde_json` writes without white space is canonical but for two things: the order of members, and numbers that are not
//! small integers. [`sorted`] puts the members in order, and gives up on anything where the two could be told apart: a number
//! with a point, an exponent or more than 15 digits, a name that is not plain ASCII (their order is that of UTF-16), a name that
//! occurs twice. `serde_jcs` then writes that value; it buffers every member and allocates three times for each, which took a
//! third of what accepting a payment took beside the signature.

use smallvec::SmallVec;
use std::ops::Range;

/// The longest run of digits that is an integer every implementation writes alike.
const MAX_DIGITS: usize = 15;

/// The canonical form of compact JSON; `None` where more than an order of members is needed to tell.
pub(super) fn sorted(json: &[u8]) -> Option<Vec<u8>> {
    let mut writer = Writer { rest: json, out: Vec::with_capacity(json.len()), members: SmallVec::new() };
    writer.value()?;
    writer.rest.is_empty().then_some(writer.out)
}

struct Writer<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    /// Of the objects that are open, the outer ones first. More than a credential or a receipt has is rare.
    members: SmallVec<[Member; 16]>,
}

/// Where something is in what was written.
struct Member {
    /// The name, without its quotes.
    name: Range<usize>,
    /// Name and value.
    whole: Range<usize>,
}

impl Writer<'_> {
    fn value(&mut self) -> Option<()> {
        match self.rest.first()? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.text().map(drop),
            b't' => self.take("true".len()),
            b'f' => self.take("false".len()),
            b'n' => self.take("null".len()),
            _ => self.integer(),
        }
    }

    fn object(&mut self) -> Option<()> {
        self.take(1)?;
        let (first, start) = (self.members.len(), self.out.len());
        if self.rest.first() == Some(&b'}') {
            return self.take(1);
        }
        loop {
            let begin = self.out.len();
            let name = self.text()?;
            if !self.out[name.clone()].is_ascii() || memchr::memchr(b'\\', &self.out[name.clone()]).is_some()
            {
                return None;
            }
            self.expect(b':')?;
            self.value()?;
            self.members.push(Member { name, whole: begin..self.out.len() });
            match self.rest.first()? {
                b',' => self.take(1)?,
                b'}' => break,
                _ => return None,
            }
        }
        self.put_in_order(first, start)?;
        self.members.truncate(first);
        self.take(1)
    }

    /// The members from `first` on, which were written from `start` on.
    fn put_in_order(&mut self, first: usize, start: usize) -> Option<()> {
        let (out, members) = (&mut self.out, &mut self.members[first..]);
        if members.is_sorted_by(|one, next| out[one.name.clone()] < out[next.name.clone()]) {
            return Some(());
        }
        members.sort_unstable_by(|one, other| out[one.name.clone()].cmp(&out[other.name.clone()]));
        if members.windows(2).any(|pair| out[pair[0].name.clone()] == out[pair[1].name.clone()]) {
            return None;
        }
        let unsorted = out.split_off(start);
        for (position, member) in members.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&unsorted[member.whole.start - start..member.whole.end - start]);
        }
        Some(())
    }

    fn array(&mut self) -> Option<()> {
        self.take(1)?;
        if self.rest.first() == Some(&b']') {
            return self.take(1);
        }
        loop {
            self.value()?;
            match self.rest.first()? {
                b',' => self.take(1)?,
                b']' => return self.take(1),
                _ => return None,
            }
        }
    }

    /// Where it was written, without its quotes. `serde_json` escapes what RFC 8785 says has to be, and as it says.
    fn text(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.out.len();
        loop {
            let special = memchr::memchr2(b'"', b'\\', self.rest)?;
            match self.rest[special] {
                b'"' => {
                    self.take(special)?;
                    let text = start..self.out.len();
                    return self.take(1).map(|()| text);
                }
                // The character after a backslash ends nothing.
                _ => self.take(special + 2)?,
            }
        }
    }

    fn integer(&mut self) -> Option<()> {
        let digits = self.rest.strip_prefix(b"-").unwrap_or(self.rest);
        let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        let is_plain = !matches!(digits.get(length), Some(b'.' | b'e' | b'E'));
        // Minus zero is zero.
        let is_written_alike = (1..=MAX_DIGITS).contains(&length) && !self.rest.starts_with(b"-0");
        if is_plain && is_written_alike { self.take(self.rest.len() - digits.len() + length) } else { None }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.rest.first() == Some(&byte) { self.take(1) } else { None }
    }

    fn take(&mut self, length: usize) -> Option<()> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.out.extend_from_slice(taken);
        self.rest = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(json: &str) -> Option<String> {
        sorted(json.as_bytes()).map(|sorted| String::from_utf8(sorted).unwrap())
    }

    #[test]
    fn members_are_put_in_order_at_any_depth() {
        assert_eq!(
            of(r#"{"b":{"y":[{"d":1,"c":"x,\"}"}],"x":{}},"a":-12,"ab":[],"B":null}"#).as_deref(),
            Some(r#"{"B":null,"a":-12,"ab":[],"b":{"x":{},"y":[{"c":"x,\"}","d":1}]}}"#)
        );
        assert_eq!(of(r#"[true,false,"\\",0]"#).as_deref(), Some(r#"[true,false,"\\",0]"#));
    }

    #[test]
    fn where_more_than_an_order_matters_it_gives_up() {
        for json in [
            "1.0",
            "1e5",
            "-0",
            "1234567890123456",
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":1,"b":2}"#,
            r#"{"é":1}"#,
            r#"{"\n":1}"#,
            r#"[{"a":0.5}]"#,
            r#"{ "a":1}"#,
            r#"{"a":1"#,
            r#"{"a"1}"#,
            r#"{"a":1}}"#,
            r#"{"a":1,}"#,
            "[1 2]",
            "-",
            "\"",
            "\"\\",
            "",
        ] {
            assert_eq!(of(json), None, "{json}");
        }
    }

    #[test]
    fn what_the_protocol_sends_is_canonical_in_one_pass() {
        use crate::protocol::{BaseUnits, ChargeRequest, MethodName, Receipt, Timestamp};
        let request = ChargeRequest {
            recipient: Some("0xabc".into()),
            method_details: json!({"chainId": 4217, "feePayer": true}).as_object().cloned(),
            ..ChargeRequest::new(BaseUnits::new(5), "usd")
        };
        let receipt = Receipt::new(MethodName::from_static("tempo"), "0xabc", Timestamp::from_unix(0));
        for json in [serde_json::to_vec(&request).unwrap(), serde_json::to_vec(&receipt).unwrap()] {
            let canonical = serde_jcs::to_vec(&serde_json::from_slice::<Value>(&json).unwrap()).unwrap();
            assert_eq!(sorted(&json), Some(canonical));
        }
    }

    /// Values with names and numbers of which many are written alike by everybody, and some are not.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let name = prop_oneof![3 => "[a-cA-C]{0,3}", 1 => any::<String>()];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Compact JSON with the members of every object in reverse.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| {
                    format!("{}:{}", Value::from(name.as_str()), reversed(value))
                };
                format!("{{{}}}", members.iter().rev().map(member).collect::<Vec<_>>().join(","))
            }
            Value::Array(elements) => {
                format!("[{}]", elements.iter().map(reversed).collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn what_it_writes_is_what_serde_jcs_writes(value in values()) {
            let expected = serde_jcs::to_vec(&value).unwrap();
            for json in [value.to_string(), reversed(&value)] {
                if let Some(sorted) = sorted(json.as_bytes()) {
                    prop_assert_eq!(&sorted, &expected);
                }
            }
        }

        #[test]
        fn it_never_panics(bytes: Vec<u8>, near in r#"[\[\]{}":,a0-9.eE\\-]{0,40}"#) {
            let _ = (sorted(&bytes), sorted(near.as_bytes()));
        }
    }
}
