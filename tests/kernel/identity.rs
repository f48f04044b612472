//! Nobody can lie about who sent: what a program calls itself, shows or hands on makes no record name
//! another than the one that sent, and satisfies no rule for another. Needs root.

#[path = "identity/connections.rs"]
mod connections;
#[path = "identity/ground.rs"]
mod ground;
#[path = "identity/kept.rs"]
mod kept;
#[path = "identity/names.rs"]
mod names;
#[path = "identity/roots.rs"]
mod roots;
#[path = "identity/single.rs"]
mod single;
