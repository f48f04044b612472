//! Text of others in a page. `maud` escapes what would be markup; this makes visible what would be seen as
//! something else or not at all: control characters, bidirectional and invisible ones.

use maud::{Markup, html};

use crate::{ecs::Time, printable::printable, table::Times};

/// Whatever it holds, as text.
pub(super) fn shown(text: &str) -> Markup {
    html! { (printable(text).as_ref()) }
}

/// To the second, for machines to the nanosecond.
/// Without markup, within a sentence.
pub(super) fn plain_time(at: Time) -> String {
    Times::new(true).format(at)
}

pub(super) fn time(at: Time) -> Markup {
    let exact = crate::when::rfc3339(at.0);
    html! { time datetime=(exact) { (Times::new(true).format(at)) } }
}
