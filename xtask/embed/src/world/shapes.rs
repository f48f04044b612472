//! From degrees to a picture: the Equal Earth projection, whose areas are true, in whole units; what is
//! smaller than one is left out. Knows no country.

use std::fmt::Write as _;

use super::topology::Topology;

/// Width and height.
pub(super) const VIEW: [i64; 2] = [2000, 870];
/// Radius of a country that is too small for a shape.
const DOT: i64 = 7;
/// How far a border may be from where it was.
const TOLERANCE: f64 = 0.9;
/// Islands below this area are left out, unless a country has nothing larger.
const ISLAND: f64 = 6.0;
/// Twice the largest `x` of the projection, over [`VIEW`].
const SCALE: f64 = 2000.0 / 5.4133;
/// North of everybody.
const TOP: f64 = 84.0;

type Point = [i64; 2];
/// Longitude and latitude.
type Degrees = [f64; 2];

#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: String,
    rings: Vec<Vec<Point>>,
    pub(super) is_dot: bool,
}

/// The arcs of a topology in degrees. Each is simplified by itself, so neighbours still touch; of what
/// becomes a dot nothing may vanish.
pub(super) fn arcs(topology: &Topology, are_dots: bool) -> Vec<Vec<Degrees>> {
    let arcs = topology.arcs.iter().map(|arc| topology.degrees(arc));
    arcs.map(|arc| if are_dots { arc } else { simplified(&arc) }).collect()
}

/// Equal Earth (Savric, Patterson, Jenny 2018), the north above.
fn project([longitude, latitude]: Degrees) -> [f64; 2] {
    let (x, y) = equal_earth(longitude.to_radians(), latitude.to_radians());
    let (_, top) = equal_earth(0.0, TOP.to_radians());
    [1000.0 + x * SCALE, (top - y) * SCALE]
}

fn equal_earth(longitude: f64, latitude: f64) -> (f64, f64) {
    const A: [f64; 4] = [1.340_264, -0.081_106, 0.000_893, 0.003_796];
    let m = 3_f64.sqrt() / 2.0;
    let t = (m * latitude.sin()).asin();
    let (t2, t6) = (t * t, t.powi(6));
    let x =
        longitude * t.cos() / (m * (A[0] + 3.0 * A[1] * t2 + t6 * (7.0 * A[2] + 9.0 * A[3] * t2)));
    let y = t * (A[0] + A[1] * t2 + t6 * (A[2] + A[3] * t2));
    (x, y)
}

/// Douglas and Peucker: the points that a line through the others would miss by more than the tolerance.
fn simplified(points: &[Degrees]) -> Vec<Degrees> {
    let [first, .., last] = points else { return points.to_vec() };
    let (from, to) = (project(*first), project(*last));
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    let far = |point: &Degrees| {
        let [x, y] = project(*point);
        let (px, py) = (x - from[0], y - from[1]);
        if length == 0.0 { px.hypot(py) } else { (px * dy - py * dx).abs() / length }
    };
    let inner = points[1..points.len() - 1].iter().map(far).enumerate();
    let farthest = inner.max_by(|a, b| a.1.total_cmp(&b.1));
    match farthest {
        Some((index, distance)) if distance > TOLERANCE => {
            let mut kept = simplified(&points[..index + 2]);
            kept.pop();
            kept.extend(simplified(&points[index + 1..]));
            kept
        }
        _ => vec![*first, *last],
    }
}

/// A ring over the 180th meridian as its parts on either side of it. The sets have such rings in one.
fn parts(mut ring: Vec<Degrees>) -> Vec<Vec<Degrees>> {
    let mut before = ring.first().map_or(0.0, |point| point[0]);
    for point in &mut ring {
        // Where it jumps over the edge of the picture it goes on beyond it.
        point[0] += ((before - point[0]) / 360.0).round() * 360.0;
        before = point[0];
    }
    let around = [-360.0, 0.0, 360.0].map(|turn: f64| {
        let turned: Vec<Degrees> = ring.iter().map(|[x, y]| [x + turn, *y]).collect();
        cut(&cut(&turned, 180.0, 1.0), -180.0, -1.0)
    });
    around.into_iter().filter(|part| part.len() > 2).collect()
}

/// Sutherland and Hodgman: what of a ring is on one side of a meridian.
fn cut(ring: &[Degrees], meridian: f64, side: f64) -> Vec<Degrees> {
    let is_inside = |point: &Degrees| (meridian - point[0]) * side >= 0.0;
    let before = ring.iter().cycle().skip(ring.len().saturating_sub(1));
    let mut out = Vec::new();
    for (a, b) in before.zip(ring) {
        if is_inside(a) != is_inside(b) {
            let share = (meridian - a[0]) / (b[0] - a[0]);
            out.push([meridian, a[1] + share * (b[1] - a[1])]);
        }
        if is_inside(b) {
            out.push(*b);
        }
    }
    out
}

impl Shape {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), rings: Vec::new(), is_dot: false }
    }

    pub(super) fn add(&mut self, arcs: &[Vec<Degrees>], rings: &[Vec<i64>]) {
        for ring in rings {
            let mut points: Vec<Degrees> = Vec::new();
            for number in ring {
                let (index, is_reversed) =
                    if *number < 0 { (!*number, true) } else { (*number, false) };
                let index = usize::try_from(index).ok();
                let Some(arc) = index.and_then(|it| arcs.get(it)) else { continue };
                // It begins where the one before ends.
                points.pop();
                if is_reversed {
                    points.extend(arc.iter().rev());
                } else {
                    points.extend(arc);
                }
            }
            for part in parts(points) {
                let mut drawn: Vec<Point> = part
                    .into_iter()
                    .map(|point| project(point).map(|it| it.round() as i64))
                    .collect();
                drawn.dedup();
                self.rings.push(drawn);
            }
        }
    }

    pub(super) fn is_somewhere(&self) -> bool {
        self.rings.iter().any(|ring| !ring.is_empty())
    }

    /// What `d` of an SVG path holds.
    pub(super) fn path(&self) -> String {
        if self.is_dot {
            let [x, y] = self.middle();
            return format!(
                "M{} {y}a{DOT} {DOT} 0 1 0 {} 0a{DOT} {DOT} 0 1 0-{} 0z",
                x - DOT,
                2 * DOT,
                2 * DOT
            );
        }
        let largest = self.rings.iter().map(|ring| area(ring)).fold(0.0, f64::max);
        let is_kept = |ring: &&Vec<Point>| area(ring) >= ISLAND.min(largest) && ring.len() > 2;
        let mut out = String::new();
        for ring in self.rings.iter().filter(is_kept) {
            write_ring(&mut out, ring);
        }
        out
    }

    /// Of its largest ring.
    fn middle(&self) -> Point {
        let largest = self.rings.iter().max_by(|a, b| area(a).total_cmp(&area(b)));
        let ring = largest.map(Vec::as_slice).unwrap_or_default();
        let count = i64::try_from(ring.len().max(1)).unwrap_or(i64::MAX);
        let sum = ring.iter().fold([0, 0], |sum, point| [sum[0] + point[0], sum[1] + point[1]]);
        [sum[0] / count, sum[1] / count]
    }
}

fn area(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    let doubled: i64 = ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    doubled.abs() as f64 / 2.0
}

/// Steps from point to point, with no space that is not needed.
fn write_ring(out: &mut String, ring: &[Point]) {
    let (Some(first), Some(mut at)) = (ring.first(), ring.first().copied()) else { return };
    // Writing to a String cannot fail.
    let _ = write!(out, "M{} {}l", first[0], first[1]);
    let mut is_first = true;
    for point in &ring[1..] {
        for step in [point[0] - at[0], point[1] - at[1]] {
            let gap = if is_first || step < 0 { "" } else { " " };
            let _ = write!(out, "{gap}{step}");
            is_first = false;
        }
        at = *point;
    }
    out.push('z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_equator_is_as_long_as_the_picture_is_wide() {
        let [left, right] = [-180.0, 180.0].map(|longitude| project([longitude, 0.0]));
        assert!(left[0].abs() < 1.0 && (right[0] - 2000.0).abs() < 1.0, "{left:?} {right:?}");
        assert!(project([0.0, 84.0])[1].abs() < 1e-9);
        let cape_horn = project([-67.0, -56.0])[1];
        assert!(cape_horn < VIEW[1] as f64, "{cape_horn}");
    }

    #[test]
    fn what_is_hardly_seen_is_left_out_and_corners_stay() {
        let line = [[0.0, 0.0], [5.0, 0.01], [10.0, 0.0], [10.0, 8.0]];
        assert_eq!(simplified(&line), [[0.0, 0.0], [10.0, 0.0], [10.0, 8.0]]);
    }

    #[test]
    fn a_ring_is_written_in_steps() {
        let mut out = String::new();
        write_ring(&mut out, &[[10, 10], [14, 10], [14, 7], [10, 10]]);
        assert_eq!(out, "M10 10l4 0 0-3-4 3z");
    }

    #[test]
    fn a_shared_border_is_taken_from_either_side() {
        let arcs = [vec![[0.0, 0.0], [9.0, 0.0]], vec![[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]]];
        let mut shape = Shape::named("x");
        shape.add(&arcs, &[vec![0, !1]]);
        let drawn = |point: Degrees| project(point).map(|it| it.round() as i64);
        let expected = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 0.0]].map(drawn);
        assert_eq!(shape.rings, [expected.to_vec()]);
    }

    #[test]
    fn a_country_on_both_edges_of_the_picture_is_not_drawn_all_across_it() {
        let ring =
            vec![[170.0, 60.0], [-170.0, 60.0], [-170.0, 70.0], [170.0, 70.0], [170.0, 60.0]];
        let found = parts(ring);
        assert_eq!(found.len(), 2, "{found:?}");
        for part in found {
            let longitudes: Vec<f64> = part.iter().map(|point| point[0]).collect();
            let (least, most) = longitudes
                .iter()
                .fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(*it), most.max(*it)));
            assert!((most - least - 10.0).abs() < 1e-9, "{part:?}");
            assert!((-180.0..=180.0).contains(&least) && most <= 180.0, "{part:?}");
        }
    }
}
