//! The plots of `benches/plots`, drawn as SVG from the results.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::groups::{Axis, Draws, Figure, Group, Unit};
use super::render::{spoken, written};
use super::results::{Measured, Results, Series};
use clap::ValueEnum as _;

/// The size of a plot of lines, in pixels; one of bars is as high as its bars are many.
const SIZE: (u32, u32) = (760, 420);
const BAR: u32 = 44;
/// How many times as long as the next one a bar may be.
const BREAKS: f64 = 4.0;
/// Of a lively and even set that is told apart by those who see fewer colours as well (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A plot: its file in `benches/plots`, and what is in it.
pub(crate) struct Plot {
    pub(crate) file: String,
    pub(crate) svg: String,
}

/// What went wrong in drawing.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw {figure}: {why}")]
pub(crate) struct DrawError {
    figure: String,
    why: String,
}

/// Every plot there are results for.
///
/// # Errors
/// When plotters cannot draw one.
pub(crate) fn all(results: &Results) -> Result<Vec<Plot>, DrawError> {
    let mut plots = Vec::new();
    for group in Group::value_variants() {
        let Some(measured) = results.groups.get(&group.name()) else { continue };
        for figure in group.page().figures {
            let error = |why| DrawError { figure: figure.name.to_owned(), why };
            if let Some(svg) = draw(figure, measured).map_err(error)? {
                plots.push(Plot { file: format!("{}.svg", figure.name), svg });
            }
        }
    }
    Ok(plots)
}

fn draw(figure: &Figure, measured: &Measured) -> Result<Option<String>, String> {
    match figure.draws {
        Draws::Lines { x, y, scale, axis, .. } => {
            let Some(series) = measured.figures.get(figure.name) else { return Ok(None) };
            let all = || series.iter().flat_map(|one| &one.points);
            let (least, most) = range(all().map(|(_, y)| y / scale));
            let labels = Labels { title: figure.title, x, y };
            // With room above for the names of the series.
            match axis {
                Axis::FromZero => lines(&labels, series, scale, 0.0..most * 1.4),
                Axis::Logarithmic => lines(&labels, series, scale, (least / 2.0..most * 30.0).log_scale()),
            }
            .map(Some)
        }
        Draws::Bars { metric, x, scale } => {
            let value = |case: &super::results::Case| {
                let spread = case.values.get(metric)?;
                Some((spoken(&case.name), [spread.low / scale, spread.median / scale, spread.high / scale]))
            };
            let rows: Vec<_> = measured.cases.iter().filter_map(value).collect();
            if rows.is_empty() { Ok(None) } else { bars(figure.title, x, &rows).map(Some) }
        }
    }
}

struct Labels {
    title: &'static str,
    x: &'static str,
    y: &'static str,
}

fn lines<Y>(labels: &Labels, series: &[Series], scale: f64, y: Y) -> Result<String, String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let (first, last) = range(series.iter().flat_map(|one| &one.points).map(|(x, _)| *x));
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(said)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(labels.title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((first * 0.9..last * 1.1).log_scale(), y)
        .map_err(said)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| written(*x, Unit::Rate))
        .y_label_formatter(&|y| if *y < 10.0 { format!("{y:.1}") } else { written(*y, Unit::Rate) })
        .draw()
        .map_err(said)?;
    for (one, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points = || one.points.iter().map(|(x, y)| (*x, y / scale));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
            .map_err(said)?
            .label(one.name.as_str())
            .legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled()));
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled()))).map_err(said)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .position(SeriesLabelPosition::UpperLeft)
        .draw()
        .map_err(said)?;
    drop(chart);
    area.present().map_err(said)?;
    drop(area);
    Ok(svg)
}

/// Rows with the lowest, the middle and the highest value of each: a bar, and a mark over its spread. A row that is many times
/// as long as all others ends at the margin, and says so: the others are to be compared.
fn bars(title: &str, x: &str, rows: &[(String, [f64; 3])]) -> Result<String, String> {
    const NAMES: i32 = 190;
    const MARGIN: i32 = 20;
    let count = i32::try_from(rows.len()).map_err(said)?;
    let (bar, width) = (i32::try_from(BAR).map_err(said)?, i32::try_from(SIZE.0).map_err(said)?);
    let top = 50;
    let mut longest: Vec<f64> = rows.iter().map(|(_, [_, _, high])| *high).collect();
    longest.sort_unstable_by(|one, other| other.total_cmp(one));
    let most = match longest[..] {
        [first, second, ..] if first > BREAKS * second => second * 1.5,
        [first, ..] => first,
        [] => return Ok(String::new()),
    };
    // Room for the number behind the longest bar.
    let scale = f64::from(width - NAMES - 2 * MARGIN - 150) / most;
    let place = |value: f64| NAMES + (value.min(most) * scale).round() as i32;
    let mut svg = String::new();
    let height = u32::try_from(top + bar * count + 40).map_err(said)?;
    let area = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
    area.fill(&WHITE).map_err(said)?;
    let style = |size: i32| ("sans-serif", size).into_text_style(&area);
    area.draw(&Text::new(title.to_owned(), (MARGIN, 14), style(20))).map_err(said)?;
    for ((name, [low, middle, high]), row) in rows.iter().zip(0..) {
        let y = top + bar * row;
        let colour = if name.starts_with("ours") { COLOURS[1] } else { COLOURS[0] };
        area.draw(&Text::new(name.clone(), (MARGIN, y + 10), style(15))).map_err(said)?;
        let corners = [(NAMES, y + 6), (place(*middle), y + bar - 12)];
        area.draw(&Rectangle::new(corners, colour.filled())).map_err(said)?;
        let line = y + bar / 2 - 3;
        area.draw(&PathElement::new([(place(*low), line), (place(*high), line)], BLACK.stroke_width(2)))
            .map_err(said)?;
        let number = written(*middle, Unit::Ratio).replace(" ×", "");
        let number = if *middle > most { format!("{number} (not to scale)") } else { number };
        area.draw(&Text::new(number, (place(*high) + 8, y + 10), style(15))).map_err(said)?;
    }
    let below = top + bar * count + 8;
    area.draw(&Text::new(x.to_owned(), (NAMES, below), style(14))).map_err(said)?;
    area.present().map_err(said)?;
    drop(area);
    Ok(svg)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::results::Spread;
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        let growth = results.groups.entry("growth".to_owned()).or_default();
        for (x, y) in [(10.0, 1_500.0), (100.0, 1_510.0), (10_000.0, 1_490.0)] {
            growth.point("prices", "402", x, y);
            growth.point("prices", "payment", x, 40.0 * y);
        }
        let stores = results.groups.entry("stores".to_owned()).or_default();
        for (x, y) in [(1.0, 100.0), (64.0, 500_000.0)] {
            stores.point("stores", "redb", x, y);
        }
        let loopback = results.groups.entry("loopback".to_owned()).or_default();
        for (name, cpu) in
            [("ours", [7_000.0, 7_200.0, 7_900.0]), ("npm mppx on hono", [400e3, 420e3, 500e3])]
        {
            let [low, median, high] = cpu;
            loopback.case_mut(name).values.insert("cpu".to_owned(), Spread { median, low, high });
        }
        results
    }

    #[test]
    fn every_figure_with_results_is_drawn_with_its_title_and_its_series() {
        let plots = all(&results()).expect("plots");
        let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["loopback.svg", "stores.svg", "prices.svg"]);
        for (plot, texts) in plots.iter().zip([
            ["Processor time of the server", "npm mppx on hono", "420 (not to scale)"],
            ["Claims a second", "redb", "at once"],
            ["A service of more prices", "payment", "priced routes"],
        ]) {
            assert!(plot.svg.starts_with("<svg"), "{}", plot.svg);
            for text in texts {
                assert!(plot.svg.contains(text), "{text} is not in {}", plot.svg);
            }
        }
    }

    #[test]
    fn the_same_results_give_the_same_plot() {
        let drawn = || all(&results()).expect("plots").into_iter().map(|plot| plot.svg).collect::<Vec<_>>();
        assert_eq!(drawn(), drawn());
    }
}
