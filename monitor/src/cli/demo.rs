//! What may be typed after `geofenced demo`. Parsing only.

use clap::Args;

use crate::commands::Deed;

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Do what this program of the demo does, and end
    #[arg(long = "as", value_name = "NAME", hide = true, value_parser = Deed::named)]
    pub deed: Option<&'static Deed>,
}
