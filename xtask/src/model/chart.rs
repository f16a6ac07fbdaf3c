//! The chart: time against workers, with one line for each number of shards. Both axes are logarithmic.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 4] = ["#c0392b", "#d68910", "#1e8449", "#2471a3"];

/// One line of the chart.
pub(super) struct Line {
    pub(super) name: String,
    /// Number of workers, and hours.
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws the lines as SVG.
pub(super) fn svg(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (workers_max, hours_max) =
        points().fold((1.0, 1.0_f64), |max: (f64, f64), point| (max.0.max(point.0), max.1.max(point.1)));
    let hours_min = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let (low, high) = (hours_min.log10().floor(), hours_max.log10().ceil());
    let x = |workers: f64| LEFT + (WIDTH - LEFT - RIGHT) * workers.log10() / workers_max.log10().max(1.0);
    let y = |hours: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - hours.log10()) / (high - low).max(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    write_text(&mut svg, middle, TOP - 16.0, "middle", title);
    write_text(&mut svg, middle, HEIGHT - 10.0, "middle", "workers");
    write_text(&mut svg, 10.0, TOP - 16.0, "start", "hours");
    for exponent in low as i32..=high as i32 {
        let hours = 10_f64.powi(exponent);
        write_line(&mut svg, &[(LEFT, y(hours)), (WIDTH - RIGHT, y(hours))], "#ddd");
        write_text(&mut svg, LEFT - 8.0, y(hours) + 4.0, "end", &hours.to_string());
    }
    for exponent in 0..=workers_max.log10().round() as i32 {
        let workers = 10_f64.powi(exponent);
        write_line(&mut svg, &[(x(workers), TOP), (x(workers), HEIGHT - BOTTOM)], "#ddd");
        write_text(&mut svg, x(workers), HEIGHT - BOTTOM + 18.0, "middle", &workers.to_string());
    }
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let places: Vec<_> = line.points.iter().map(|&(workers, hours)| (x(workers), y(hours))).collect();
        write_line(&mut svg, &places, colour);
        if let Some(&(x, y)) = places.last() {
            write_text(&mut svg, x + 8.0, y + 4.0, "start", &line.name);
        }
    }
    svg + "</svg>\n"
}

fn write_line(svg: &mut String, places: &[(f64, f64)], colour: &str) {
    let places: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let width = if colour == "#ddd" { 1 } else { 2 };
    let places = places.join(" ");
    writeln!(svg, "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>")
        .expect("writing to a String cannot fail");
}

fn write_text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_drawn_and_named() {
        let line = |name: &str, hours| Line { name: name.into(), points: vec![(1.0, hours), (100.0, hours / 9.0)] };
        let svg = svg("title", &[line("1 shard", 90.0), line("4 shards", 20.0)]);
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 2);
        assert!(svg.contains(">1 shard</text>") && svg.contains(">4 shards</text>") && svg.contains(">title<"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
