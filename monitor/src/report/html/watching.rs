//! Who watched and by what, from the ledger's own notices.

use maud::{Markup, html};

use super::text::{shown, time};
use crate::coverage::Watched;

pub(super) fn watching(all: &[Watched]) -> Markup {
    html! {
        @if all.is_empty() {
            p { "The ledger does not say who watched." }
        } @else {
            dl.facts {
                @for it in all {
                    dt { "From " (time(it.noted_at)) }
                    dd { (shown(&it.sentence())) "." }
                }
            }
        }
    }
}
