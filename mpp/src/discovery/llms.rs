//! `/llms.txt` and `/llms-full.txt`: the same operations for language models, as Markdown (llmstxt.org;
//! `x-service-info.docs.llms`, draft-payment-discovery-00 section 3.3.2).
//!
//! The short one is an index, a line per operation. The full one says of each what it takes, gives and costs, and how a
//! program pays.

use super::catalogue::Operation;
use super::describe::one_line;
use super::info::Info;
use crate::Mpp;
use serde_json::Value;
use std::fmt::Write as _;

/// How to pay, once, in words a program can follow.
const HOW_TO_PAY: &str = "\
Send the request. The answer is `402 Payment Required` with one `WWW-Authenticate: Payment …` header per way to pay. Pick
one, pay what its `request` (base64url of JSON) asks for, and send the same request again with
`Authorization: Payment <credential>`. The answer carries the result and a `Payment-Receipt` header. The 402 is what counts:
prices in this document tell what to expect. An error after a payment is no reason to pay again: send the same credential.
";

/// `/llms.txt`.
pub(super) fn index(mpp: &Mpp, info: &Info, operations: &[Operation]) -> String {
    let mut out = title(info);
    out.push_str(
        "Operations are paid for per request over HTTP 402 (the `Payment` authentication scheme).\n",
    );
    out.push_str("\n## Paid operations\n\n");
    for operation in operations {
        let summary = operation.spec.summary();
        let about = if summary.is_empty() { String::new() } else { format!(" {summary}") };
        let url = format!("{}/llms-full.txt#{}", base(mpp), operation.id);
        let _ = writeln!(out, "- [{}]({url}):{about} {}", operation.line(), operation.costs());
    }
    out.push_str("\n## Documents\n\n");
    let _ =
        writeln!(out, "- [OpenAPI]({}/openapi.json): every operation with its schemas and offers", base(mpp));
    let _ = writeln!(
        out,
        "- [All of it]({}/llms-full.txt): this list with parameters, and how to pay",
        base(mpp)
    );
    let reference = info.reference(base(mpp));
    if let Some(link) = &reference {
        let _ = writeln!(out, "- [Reference]({link}): for people");
    }
    if let Some(link) = &info.homepage {
        let _ = writeln!(out, "- [Homepage]({link})");
    }
    out
}

/// `/llms-full.txt`. Parameters are read from the OpenAPI document, so that the two cannot differ.
pub(super) fn full(mpp: &Mpp, info: &Info, operations: &[Operation], document: &Value) -> String {
    let mut out = title(info);
    let _ = write!(out, "Base URL: {}\n\n## How to pay\n\n{HOW_TO_PAY}\n## Operations\n", base(mpp));
    for operation in operations {
        let _ = writeln!(out, "\n### {}\n\n`{}`\n", operation.id, operation.line());
        if operation.every_verb {
            out.push_str("Every verb costs the same.\n\n");
        }
        let docs = operation.spec.docs.trim();
        if !docs.is_empty() {
            let _ = writeln!(out, "{docs}\n");
        }
        for offer in &operation.offers {
            let (method, currency) = (&offer.method, &offer.currency);
            let _ = match offer.amount {
                Some(units) => writeln!(
                    out,
                    "- price by `{method}`: {} (amount `{units}`, currency `{currency}`)",
                    offer.price()
                ),
                None => writeln!(
                    out,
                    "- price by `{method}`: {} (the challenge says the amount; currency `{currency}`)",
                    offer.price()
                ),
            };
        }
        let path = operation.template.path.replace('~', "~0").replace('/', "~1");
        let pointer = format!("/paths/{path}/{}", operation.verb.as_str().to_ascii_lowercase());
        if let Some(described) = document.pointer(&pointer) {
            inputs(&mut out, described);
        }
    }
    out
}

fn inputs(out: &mut String, operation: &Value) {
    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let kind = parameter.pointer("/schema/type").and_then(Value::as_str).unwrap_or("any");
        let need = if parameter["required"] == Value::Bool(true) { "required" } else { "optional" };
        let _ = write!(
            out,
            "- {} parameter `{}` ({kind}, {need})",
            text(parameter, "in"),
            text(parameter, "name")
        );
        match (parameter["description"].as_str(), &parameter["example"]) {
            (Some(about), _) => drop(writeln!(out, ": {about}")),
            (None, Value::Null) => out.push('\n'),
            (None, Value::String(example)) => drop(writeln!(out, ", for example `{example}`")),
            (None, example) => drop(writeln!(out, ", for example `{example}`")),
        }
    }
    for (what, pointer) in [("body", "/requestBody/content"), ("result", "/responses/200/content")] {
        let content = operation.pointer(pointer).and_then(Value::as_object);
        for (media, content) in content.into_iter().flatten() {
            let schema = match &content["schema"] {
                Value::Object(schema) if !schema.is_empty() => format!(", schema `{}`", content["schema"]),
                _ => String::new(),
            };
            let _ = writeln!(out, "- {what}: `{media}`{schema}");
        }
    }
}

fn title(info: &Info) -> String {
    // Markdown headings and quotes are one line.
    let mut out = format!("# {}\n\n", one_line(&info.title));
    if let Some(description) = &info.description {
        let _ = writeln!(out, "> {}\n", one_line(description));
    }
    out
}

fn base(mpp: &Mpp) -> &str {
    mpp.public_url().trim_end_matches('/')
}
