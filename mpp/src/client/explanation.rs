//! What an error response says about itself, for a person: bounded in size and time, because a server may be hostile.

use http::header::CONTENT_TYPE;
use reqwest::Response;

use super::middleware::{PROBLEM_TIME, read};
use crate::protocol::ReceivedProblem;

/// The most characters of it.
const MOST: usize = 200;

/// What a response says, in its server's words: the `detail` of a problem (RFC 9457), or else its title, or the beginning of a
/// plain text; at most 200 characters. None where it says nothing of the kind, or more than 64 KiB, or takes longer than five
/// seconds.
///
/// The text is the server's: not to be trusted, and to be written with escapes where it ends on a terminal or in a log.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let problem = r#"{"title":"Not Found","detail":"no such city"}"#;
/// let response = http::Response::builder().status(404).body(problem).unwrap();
/// assert_eq!(mpp::client::explanation(response.into()).await.as_deref(), Some("no such city"));
/// # });
/// ```
pub async fn explanation(mut response: Response) -> Option<String> {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_plain =
        media_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/plain"));
    let body = tokio::time::timeout(PROBLEM_TIME, read(&mut response)).await.ok().flatten()?;
    let text = match ReceivedProblem::parse(&body) {
        Some(problem) => problem.detail.or(problem.title)?,
        None if is_plain => String::from_utf8(body).ok()?,
        None => return None,
    };
    let text: String = text.trim().chars().take(MOST).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(media_type: &str, body: impl Into<reqwest::Body>) -> Option<String> {
        let response = http::Response::builder().header(CONTENT_TYPE, media_type);
        explanation(response.body(body).expect("a response").into()).await
    }

    #[tokio::test]
    async fn a_problem_or_a_plain_text_is_told_and_a_page_is_not() {
        let problem = "application/problem+json";
        assert_eq!(said(problem, r#"{"title":"a","detail":" b "}"#).await.as_deref(), Some("b"));
        assert_eq!(said(problem, r#"{"title":"a"}"#).await.as_deref(), Some("a"));
        assert_eq!(said(problem, r#"{"status":404}"#).await, None);
        assert_eq!(
            said("text/plain; charset=utf-8", "no such city\n").await.as_deref(),
            Some("no such city")
        );
        assert_eq!(said("text/html", "<html>").await, None);
        assert_eq!(said("text/plain", "  ").await, None);
        assert_eq!(said("text/plain", vec![0xff]).await, None);
        assert_eq!(said("text/plain", "é".repeat(1_000)).await, Some("é".repeat(MOST)));
        assert_eq!(said("text/plain", "a".repeat(65 * 1024)).await, None, "more than is read");
    }
}
