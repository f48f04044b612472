//! Makes what geofenced embeds, from named packages. A program of its own, so that who only builds compiles
//! none of it. It must do nothing but choose.
#![warn(clippy::unwrap_used)]

mod geodb;
mod world;

use clap::Parser;

#[derive(Parser)]
#[command(name = "embed", bin_name = "cargo xtask", max_term_width = 100)]
enum Cli {
    /// Rebuilds the embedded databases from their packages
    Geodb(geodb::Args),
    /// Rebuilds the map of the world for reports from its package
    World(world::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::Geodb(args) => geodb::run(args),
        Cli::World(args) => world::run(args),
    }
}
