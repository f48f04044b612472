//! A row's course: what left in each stretch of the window, asked for stretch by stretch, so that each is cut as the
//! window itself is. It draws; it changes no total.

use std::collections::HashMap;

use crate::{
    api::Asked,
    cli::Global,
    commands::{Failure, load, totals},
    event::Timestamp,
    filter::RawFilter,
    summary::{Course, Row, Sort},
    table::bytes,
    when,
};

/// Each is a question of its own.
const STRETCHES_MAX: u64 = 400;
/// Cells of a course that is drawn.
const DRAWN_MAX: usize = 48;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Adds to each row what left in stretches of `per_ns`, from the window's begin on.
pub(super) fn add(
    global: &Global,
    per_ns: u64,
    asked: Asked,
    filter: &RawFilter,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    rows: &mut [Row],
) -> Result<(), Failure> {
    let usage = |problem: String| Failure::usage(anyhow::anyhow!(problem));
    let since =
        since.ok_or_else(|| usage("--per: say from when on, by --since or --interval".into()))?;
    let until = until.map_or_else(|| load::end(global), Ok)?;
    let count = until.0.saturating_sub(since.0).div_ceil(per_ns);
    if count > STRETCHES_MAX {
        let problem =
            format!("--per: the window has {count} such stretches; {STRETCHES_MAX} are the most");
        return Err(usage(problem));
    }
    let numbers: HashMap<(String, Vec<String>), usize> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| ((row.key.clone(), row.keys.clone()), at))
        .collect();
    for row in rows.iter_mut() {
        let sent = vec![0; count as usize];
        row.course = Some(Course { since: when::rfc3339(since), per_ns, sent });
    }
    let quiet = Global { quiet: 1, ..global.clone() };
    let asked = Asked { sort: Sort::default(), new_since: None, ..asked };
    for stretch in 0..count as usize {
        let from = since.0 + stretch as u64 * per_ns;
        let to = (from + per_ns).min(until.0);
        let within = RawFilter {
            since: Some(when::rfc3339(Timestamp(from))),
            until: Some(when::rfc3339(Timestamp(to))),
            limit: None,
            reverse: false,
            ..filter.clone()
        };
        let query = load::query(global, &within)?;
        for row in totals::rows(&quiet, asked, &within, query)?.rows {
            let at = numbers.get(&(row.key, row.keys));
            let course = at.and_then(|at| rows[*at].course.as_mut());
            if let Some(sent) = course.and_then(|it| it.sent.get_mut(stretch)) {
                *sent = row.source.bytes;
            }
        }
    }
    Ok(())
}

/// A bar for each stretch, or for a few of them, and what the highest stands for, which is the row's own most; a
/// blank is nothing.
pub(super) fn drawn(course: &Course) -> String {
    let each = course.sent.len().div_ceil(DRAWN_MAX).max(1);
    let sums: Vec<u64> = course
        .sent
        .chunks(each)
        .map(|it| it.iter().fold(0, |sum: u64, it| sum.saturating_add(*it)))
        .collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    let bar = |sum: &u64| match *sum {
        0 => ' ',
        // One of eight, since no sum is above the most.
        sum => BARS[(u128::from(sum) * 8).div_ceil(u128::from(most)).saturating_sub(1) as usize],
    };
    let bars: String = sums.iter().map(bar).collect();
    if sums.iter().all(|sum| *sum == 0) { bars } else { format!("{bars} █ {}", bytes(most)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(sent: Vec<u64>) -> Course {
        Course { since: String::new(), per_ns: 1, sent }
    }

    #[test]
    fn a_course_is_as_high_as_its_own_most_and_blank_where_nothing_left() {
        assert_eq!(drawn(&course(vec![0, 1, 50, 100])), " ▁▄█ █ 100 B");
        assert_eq!(drawn(&course(vec![0, 0])), "  ");
        assert_eq!(drawn(&course(vec![u64::MAX, 1])), "█▁ █ 16.0 EiB");
        assert_eq!(drawn(&course(Vec::new())), "");
    }

    #[test]
    fn a_long_course_is_drawn_with_several_stretches_a_bar() {
        let drawn = drawn(&course(vec![7; 400]));
        let (bars, most) = drawn.split_at("█".len() * 45);
        assert!(bars.starts_with(&"█".repeat(44)) && bars.ends_with('▄'), "{drawn}");
        assert_eq!(most, " █ 63 B");
    }
}
