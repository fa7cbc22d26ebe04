//! Pictures: lines over a number of calls, as SVG that needs nothing but a browser.

use std::fmt::Write;

const WIDTH: f64 = 800.0;
/// More where the legend needs it.
const HEIGHT_MIN: f64 = 420.0;
/// From one line of the legend to the next.
const LEGEND_STEP: f64 = 20.0;
/// Room for axis labels and, on the right, the legend.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Told apart by colour-blind readers too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31"];
/// And, where there are more lines than colours, by these.
const DASHES: [&str; 3] = ["", " stroke-dasharray=\"6 4\"", " stroke-dasharray=\"2 3\""];
/// Larger values and a smaller one than this many times apart share an axis only by logarithm.
const LINEAR_RATIO_MAX: f64 = 12.0;

/// One picture.
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Below the x axis.
    pub x: String,
    /// Beside the y axis.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Points by rising x; y above 0.
    pub points: Vec<(f64, f64)>,
}

struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.fold(f64::INFINITY, f64::min);
        if high > 0.0 && low > 0.0 && high / low > LINEAR_RATIO_MAX {
            Self::logarithmic(low, high)
        } else {
            Self::linear(high)
        }
    }

    fn linear(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let power = 10_f64.powf((high / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|unit| unit * power).find(|step| high / step <= 6.0);
        let step = step.unwrap_or(high);
        let count = (high / step).ceil() as u32;
        let ticks = (0..=count).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high: f64::from(count) * step, logarithmic: false, ticks }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let all = (-6..9).flat_map(|power| [1.0, 2.0, 5.0].map(|unit| unit * 10_f64.powi(power)));
        let below = all.clone().rfind(|tick| *tick <= low).unwrap_or(low);
        let above = all.clone().find(|tick| *tick >= high).unwrap_or(high);
        let ticks = all.filter(|tick| (below..=above).contains(tick)).collect();
        Self { low: below, high: above, logarithmic: true, ticks }
    }

    /// Where a value is, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = match self.logarithmic {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }
}

impl Plot {
    /// The picture as SVG; `None` where no line has a point.
    pub fn svg(&self) -> Option<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        points().next()?;
        let drawn = || self.lines.iter().filter(|line| !line.points.is_empty());
        let height = HEIGHT_MIN.max(TOP + LEGEND_STEP * (drawn().count() + 1) as f64);
        let x_axis = Axis::of(points().map(|point| point.0));
        let y_axis = Axis::of(points().map(|point| point.1));
        let x = |value: f64| LEFT + x_axis.share(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| height - BOTTOM - y_axis.share(value) * (height - TOP - BOTTOM);
        let (right, bottom) = (WIDTH - RIGHT, height - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
            escaped(&self.title)
        );
        let mut add = |text: std::fmt::Arguments<'_>| out.write_fmt(text).unwrap_or_default();
        for tick in &x_axis.ticks {
            let at = x(*tick);
            add(format_args!(
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 17.0,
                number(*tick)
            ));
        }
        for tick in &y_axis.ticks {
            let at = y(*tick);
            add(format_args!(
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 7.0,
                at + 4.0,
                number(*tick)
            ));
        }
        add(format_args!(
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" stroke=\"#444\" fill=\"none\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            (LEFT + right) / 2.0,
            height - 14.0,
            escaped(&self.x),
            (TOP + bottom) / 2.0,
            escaped(&self.y),
        ));
        for (nth, line) in drawn().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            let dash = DASHES[nth / COLOURS.len() % DASHES.len()];
            let path: Vec<String> =
                line.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
            add(format_args!(
                "<path d=\"M{}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"none\"{dash}/>\n",
                path.join("L")
            ));
            for point in &line.points {
                add(format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"{colour}\"><title>{}: {}, {}</title></circle>\n",
                    x(point.0),
                    y(point.1),
                    escaped(&line.name),
                    number(point.0),
                    number(point.1),
                ));
            }
            let at = TOP + 10.0 + nth as f64 * LEGEND_STEP;
            add(format_args!(
                "<path d=\"M{:.1} {at:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"{dash}/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                right + 14.0,
                right + 38.0,
                at + 4.0,
                escaped(&line.name)
            ));
        }
        out += "</svg>\n";
        Some(out)
    }
}

/// At most three decimals, thousands apart.
fn number(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text.contains('.') {
        return text.to_owned();
    }
    let mut grouped = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<Line>) -> Plot {
        Plot { title: "a < b".to_owned(), x: "calls".to_owned(), y: "µs".to_owned(), lines }
    }

    #[test]
    fn draws_every_line_inside_the_picture() {
        let line =
            |name: &str, points: &[(f64, f64)]| Line { name: name.to_owned(), points: points.to_vec() };
        let lines = vec![line("ours", &[(50.0, 9.0), (1_000.0, 6.4)]), line("theirs & co", &[(50.0, 100.0)])];
        let svg = plot(lines).svg().unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains("theirs &amp; co") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 3);
        for at in
            svg.split("cx=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse::<f64>().unwrap())
        {
            assert!((LEFT..=WIDTH - RIGHT).contains(&at));
        }
        assert!(plot(vec![line("empty", &[])]).svg().is_none());
    }

    #[test]
    fn the_legend_has_room_for_all() {
        let lines =
            (0..30).map(|nth| Line { name: format!("line {nth}"), points: vec![(1.0, 2.0)] }).collect();
        let svg = plot(lines).svg().unwrap();
        let ys =
            svg.split(" y=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse::<f64>().unwrap());
        assert!(svg.contains("viewBox=\"0 0 800 664\"") && svg.contains("line 29"));
        assert!(ys.fold(0.0, f64::max) < 664.0);
    }

    #[test]
    fn axes_hold_their_values() {
        let axis = Axis::of([3.0, 7.3].into_iter());
        assert!(!axis.logarithmic && axis.high >= 7.3 && axis.share(0.0) == 0.0);
        assert!(axis.ticks.len() >= 4 && axis.ticks.len() <= 8, "{:?}", axis.ticks);
        let axis = Axis::of([0.3, 216.0].into_iter());
        assert!(axis.logarithmic && axis.low <= 0.3 && axis.high >= 216.0);
        assert!((axis.share(axis.high) - 1.0).abs() < 1e-9);
        assert_eq!(Axis::of([0.0].into_iter()).high, 1.0);
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (1_500.0, "1,500"), (100.0, "100"), (1e6, "1,000,000")]
        {
            assert_eq!(number(value), text);
        }
    }
}
