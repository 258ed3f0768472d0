//! What a group found, as lines that `cargo xtask bench` reads: the word `result` and a JSON object.
//!
//! ```text
//! result {"case":"ours","metric":"rate","values":[7213.0,7198.4]}  one value per round or run
//! result {"series":"402","figure":"prices","x":10.0,"y":1312.5}    one point of a plot
//! result {"version":"redis 7.0.15"}                                what was measured
//! result {"skipped":"PostgreSQL is not installed"}                 what was not, and why
//! ```

use serde_json::{Value, json};

/// The values of one metric of a case, one for each round, or for each run of several.
pub(crate) fn values(case: &str, metric: &str, values: &[f64]) {
    line(&json!({ "case": case, "metric": metric, "values": values }));
}

/// A point of a series of a figure; of several at one place, as those of many rounds are, the median is drawn.
pub(crate) fn point(figure: &str, series: &str, x: f64, y: f64) {
    line(&json!({ "figure": figure, "series": series, "x": x, "y": y }));
}

/// A program that was measured.
pub(crate) fn version(what: &str) {
    line(&json!({ "version": what }));
}

/// Something that this machine does not allow.
pub(crate) fn skipped(why: &str) {
    line(&json!({ "skipped": why }));
}

fn line(object: &Value) {
    println!("result {object}");
}
