//! What may be typed after `geofenced demo`. Parsing only.

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Do what this program of the demo does, and end
    #[arg(long = "as", value_name = "NAME", hide = true)]
    pub program: Option<String>,
}
