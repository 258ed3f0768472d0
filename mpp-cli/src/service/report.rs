//! What a validation found: every check with its outcome, as text for people and JSON for programs.

use serde::Serialize;
use std::fmt::Write as _;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Passed,
    Warning,
    Failed,
    /// It could not be made; why is its detail.
    Skipped,
}

#[derive(Debug, Serialize)]
struct Check {
    place: String,
    check: &'static str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Every check and its outcome.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    /// A MUST of a draft: an error when it does not hold.
    pub(super) fn must(
        &mut self,
        place: &str,
        check: &'static str,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        self.add(place, check, if holds { Outcome::Passed } else { Outcome::Failed }, detail);
    }

    /// A SHOULD: a warning.
    pub(super) fn should(
        &mut self,
        place: &str,
        check: &'static str,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        self.add(place, check, if holds { Outcome::Passed } else { Outcome::Warning }, detail);
    }

    /// A check that was not made.
    pub(super) fn skip(&mut self, place: &str, check: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.add(place, check, Outcome::Skipped, || why);
    }

    fn add(&mut self, place: &str, check: &'static str, outcome: Outcome, detail: impl FnOnce() -> String) {
        let detail = (outcome != Outcome::Passed).then(detail);
        self.0.push(Check { place: place.to_owned(), check, outcome, detail });
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|check| check.outcome == outcome).count()
    }

    /// What did not pass, one line each.
    pub(super) fn findings(&self) -> String {
        let mut out = String::new();
        for check in self.0.iter().filter(|check| check.outcome != Outcome::Passed) {
            let sign = match check.outcome {
                Outcome::Failed => "error",
                Outcome::Skipped => "skipped",
                Outcome::Passed | Outcome::Warning => "warning",
            };
            let detail = check.detail.as_deref().unwrap_or_default();
            let _ = writeln!(out, "{sign}: {}: {}: {detail}", check.place, check.check);
        }
        out
    }

    /// For people: what did not pass, and a line of numbers.
    pub(super) fn text(&self, url: &str) -> String {
        let [passed, warnings, failed, skipped] = self.counts();
        let mut out = self.findings();
        let _ =
            writeln!(out, "{url}: {passed} passed, {warnings} warnings, {failed} failed, {skipped} skipped");
        out
    }

    /// For programs: every check.
    pub(super) fn json(&self, url: &str) -> String {
        let [passed, warnings, failed, skipped] = self.counts();
        let report = serde_json::json!({
            "url": url, "passed": passed, "warnings": warnings, "failed": failed, "skipped": skipped, "checks": self.0,
        });
        format!("{report:#}\n")
    }

    fn counts(&self) -> [usize; 4] {
        [Outcome::Passed, Outcome::Warning, Outcome::Failed, Outcome::Skipped]
            .map(|outcome| self.count(outcome))
    }
}
