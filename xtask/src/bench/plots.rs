//! The plots of `benches/plots`, drawn as SVG from the results.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::groups::{Axis, Draws, Figure, Group, Unit};
use super::render::{spoken, written};
use super::results::{Measured, Results, Series};
use clap::ValueEnum as _;

/// The size of a plot of lines, in pixels; one of bars is as high as its bars are many.
const SIZE: (u32, u32) = (760, 420);
/// What the names of the lines have of its width: beside the lines they cover nothing.
const NAMES: i32 = 190;
/// Room for half of a long number below the end of an axis.
const HALF_A_NUMBER: i32 = 40;
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
            match axis {
                Axis::FromZero => lines(&labels, series, scale, 0.0..most * 1.1),
                Axis::Logarithmic => lines(&labels, series, scale, decades(least, most).log_scale()),
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
    let mut sizes: Vec<f64> = series.iter().flat_map(|one| &one.points).map(|(x, _)| *x).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup();
    let (first, last) = range(sizes.iter().copied());
    // The sizes that were measured stand below the axis, and no others.
    let x = (first * 0.9..last * 1.1).log_scale().with_key_points(sizes);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(said)?;
    let below = area.titled(labels.title, ("sans-serif", 20)).map_err(said)?;
    let (left, right) = below.split_horizontally(i32::try_from(SIZE.0).map_err(said)? - NAMES);
    let mut chart = ChartBuilder::on(&left)
        .margin(14)
        .margin_right(HALF_A_NUMBER)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)
        .map_err(said)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| written(*x, Unit::Rate))
        .y_label_formatter(&|y| {
            if *y < 10.0 && y.fract() > 0.0 { format!("{y:.1}") } else { written(*y, Unit::Rate) }
        })
        .draw()
        .map_err(said)?;
    let mut coloured: Vec<_> = series.iter().zip(COLOURS.iter().cycle()).collect();
    for (one, colour) in &coloured {
        let points = || one.points.iter().map(|(x, y)| (*x, y / scale));
        chart.draw_series(LineSeries::new(points(), colour.stroke_width(2))).map_err(said)?;
        chart.draw_series(points().map(|point| Circle::new(point, 4, colour.filled()))).map_err(said)?;
    }
    // In the order in which the lines end.
    let end = |one: &Series| one.points.last().map_or(0.0, |(_, y)| *y);
    coloured.sort_by(|(one, _), (other, _)| end(other).total_cmp(&end(one)));
    let style = ("sans-serif", 14).into_text_style(&right);
    for ((one, colour), row) in coloured.into_iter().zip(0..) {
        let y = 24 + 22 * row;
        right.draw(&Rectangle::new([(0, y), (14, y + 8)], colour.filled())).map_err(said)?;
        right.draw(&Text::new(one.name.as_str(), (20, y - 4), style.clone())).map_err(said)?;
    }
    drop(chart);
    area.present().map_err(said)?;
    drop((left, right, below, area));
    Ok(svg)
}

/// From a power of ten to another, with all values between: twice as much is as far wherever it is on the axis.
fn decades(least: f64, most: f64) -> std::ops::Range<f64> {
    let (first, last) = (least.log10().floor(), most.log10().ceil());
    10_f64.powf(first)..10_f64.powf(last.max(first + 1.0))
}

/// Rows with the lowest, the middle and the highest value of each: a bar, and a mark over its spread. A row that is many times
/// as long as all others ends at the margin, and says so: the others are to be compared.
fn bars(title: &str, x: &str, rows: &[(String, [f64; 3])]) -> Result<String, String> {
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
            loopback.case_mut(name).values.extend(Spread::of(&cpu).map(|cpu| ("cpu".to_owned(), cpu)));
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
            ["A service of more prices", "payment", "prices"],
        ]) {
            assert!(plot.svg.starts_with("<svg"), "{}", plot.svg);
            for text in texts {
                assert!(plot.svg.contains(text), "{text} is not in {}", plot.svg);
            }
        }
    }

    /// The words of a plot with where they are, from left to right and from top to bottom.
    fn words(svg: &str) -> Vec<(i32, i32, String)> {
        let number = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
            rest.split('"').next()?.parse().ok()
        };
        let texts = svg.split("<text").skip(1);
        let word = |text: &str| {
            let (tag, rest) = text.split_once('>')?;
            Some((number(tag, "x")?, number(tag, "y")?, rest.split("</text>").next()?.trim().to_owned()))
        };
        texts.filter_map(word).collect()
    }

    #[test]
    fn growth_of_a_small_cost_beside_a_large_one_can_be_seen() {
        let mut results = Results::default();
        let growth = results.groups.entry("growth".to_owned()).or_default();
        for (x, small, large) in [(10.0, 1_500.0, 65_000.0), (1_000_000.0, 4_500.0, 65_000.0)] {
            growth.point("prices", "402", x, small);
            growth.point("prices", "payment", x, large);
        }
        let svg = &all(&results).expect("plots")[0].svg;
        let heights: Vec<i32> = svg
            .split("<circle")
            .skip(1)
            .filter_map(|circle| circle.split_once("cy=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        let [first, last, payment, still] = heights[..] else { panic!("four points, not {heights:?}") };
        assert!(first - last > 50, "three times as much is {} pixels higher", first - last);
        assert_eq!(payment, still);
    }

    #[test]
    fn the_numbers_below_the_axis_are_those_that_were_measured_and_are_not_cut_off() {
        let mut results = Results::default();
        let growth = results.groups.entry("growth".to_owned()).or_default();
        for x in [1.0, 10_000.0, 1_000_000.0] {
            growth.point("claims", "402", x, 1_500.0);
            growth.point("claims", "payment", x, 65_000.0);
        }
        let words = words(&all(&results).expect("plots")[0].svg);
        let lowest = words.iter().filter(|(_, _, word)| word == "1,000,000").map(|(_, y, _)| *y).max();
        let below: Vec<&str> =
            words.iter().filter(|(_, y, _)| Some(*y) == lowest).map(|(_, _, word)| word.as_str()).collect();
        assert_eq!(below, ["1", "10,000", "1,000,000"]);
        // They are centred below their points.
        let names = words.iter().find(|(_, _, word)| word == "payment").map(|(x, ..)| *x);
        let longest = words.iter().find(|(_, _, word)| word == "1,000,000").map(|(x, ..)| *x);
        assert!(
            longest.zip(names).is_some_and(|(number, names)| number + HALF_A_NUMBER < names),
            "{words:?}"
        );
    }

    #[test]
    fn the_same_results_give_the_same_plot() {
        let drawn = || all(&results()).expect("plots").into_iter().map(|plot| plot.svg).collect::<Vec<_>>();
        assert_eq!(drawn(), drawn());
    }
}
