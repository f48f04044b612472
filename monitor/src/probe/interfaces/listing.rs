//! Which links and ways out there are. All of it is listed when the kernel says that something changed, and
//! now and then all the same; between, it is asked only what each link sent. Attaches nothing.

use std::{
    collections::BTreeSet,
    io, mem,
    time::{Duration, Instant},
};

use super::{
    LookError,
    roles::Link,
    rtnetlink::{Asked, Rtnetlink},
};

/// Should the kernel change something and not say so.
const LIST_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Listing {
    kernel: Rtnetlink,
    asked: Option<Asked>,
    pub(super) links: Vec<Link>,
    pub(super) routed: BTreeSet<u32>,
    /// `None`: what is here is not to be relied on.
    listed_at: Option<Instant>,
}

impl Listing {
    /// Must be called inside a runtime.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            kernel: Rtnetlink::open()?,
            asked: None,
            links: Vec::new(),
            routed: BTreeSet::new(),
            listed_at: None,
        })
    }

    /// Until something changed.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.kernel.changed().await
    }

    /// What links sent by now. `true`: and what else is known of them, anew.
    pub(super) async fn look(&mut self, is_news: bool) -> Result<bool, LookError> {
        // Whatever fails on the way leaves a half of an answer in the socket.
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => Asked::open()?,
        };
        let listed_at = mem::take(&mut self.listed_at);
        if let Some(at) = listed_at.filter(|at| !is_news && at.elapsed() < LIST_AGAIN)
            && asked.count(&mut self.links)?
        {
            (self.asked, self.listed_at) = (Some(asked), Some(at));
            return Ok(false);
        }
        self.links = asked.links()?;
        self.asked = Some(asked);
        self.routed = self.kernel.routed().await?;
        self.listed_at = Some(Instant::now());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_is_listed_at_first_and_on_news_and_else_only_counted() {
        let mut listing = Listing::open().unwrap();
        assert!(listing.look(false).await.unwrap());
        // Others may make links just then.
        let counted = async |listing: &mut Listing| {
            for _ in 0..100 {
                if !listing.look(false).await.unwrap() {
                    return true;
                }
            }
            false
        };
        assert!(counted(&mut listing).await);
        assert!(listing.look(true).await.unwrap());
        assert!(counted(&mut listing).await);
        listing.links.pop();
        assert!(listing.look(false).await.unwrap(), "one came and nobody said so");
        listing.listed_at = Instant::now().checked_sub(LIST_AGAIN);
        assert!(listing.look(false).await.unwrap());
    }
}
