//! Reads what `load` prints: a line for each metric of a case, each point of a figure, each program and each thing that was not
//! measured (`benches/load/src/report.rs` has the grammar).

use serde_json::Value;

use super::results::{Measured, Spread};

/// Adds what these lines say.
pub(crate) fn collect(text: &str, into: &mut Measured) {
    let objects = text.lines().filter_map(|line| line.strip_prefix("result "));
    for object in objects.filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
        let text = |name: &str| object[name].as_str();
        let number = |name: &str| object[name].as_f64();
        if let (Some(case), Some(metric), Some(values)) =
            (text("case"), text("metric"), object["values"].as_array())
        {
            let rounds: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
            if let Some(spread) = Spread::of(&rounds) {
                into.case_mut(case).values.insert(metric.to_owned(), spread);
            }
        } else if let (Some(figure), Some(series), Some(x), Some(y)) =
            (text("figure"), text("series"), number("x"), number("y"))
        {
            into.point(figure, series, x, y);
        } else if let Some(version) = text("version") {
            into.versions.push(version.to_owned());
        } else if let Some(why) = text("skipped") {
            into.skipped.push(why.to_owned());
        }
    }
    into.settle();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_read_and_everything_else_is_not() {
        let text = r#"
listening on http://127.0.0.1:1
result {"case":"ours","metric":"cpu","values":[7200.0,7100.0,7300.0]}
result {"figure":"prices","series":"402","x":10.0,"y":1312.5}
result {"version":"redis-server 7.0.15"}
result {"skipped":"PostgreSQL is not installed"}
result {"case":"nobody","metric":"cpu","values":[]}
result nonsense
"#;
        let mut measured = Measured::default();
        collect(text, &mut measured);
        assert_eq!(measured.cases.len(), 1);
        let cpu = Spread { median: 7200.0, low: 7100.0, high: 7300.0, runs: Vec::new() };
        assert_eq!(measured.cases[0].values["cpu"], cpu);
        assert_eq!(measured.figures["prices"][0].points, [(10.0, 1312.5)]);
        assert_eq!(measured.versions, ["redis-server 7.0.15"]);
        assert_eq!(measured.skipped, ["PostgreSQL is not installed"]);
    }
}
