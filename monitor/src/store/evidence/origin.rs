//! Under which name a tree is signed: that of the host, and with a number behind it once what was signed
//! under the one before can't be gone on with. Pure.

use crate::evidence::KeyName;

/// `NAME` is the first, `NAME/2` the second. `None`: of another host.
pub(super) fn generation(name: &KeyName, origin: &str) -> Option<u64> {
    match origin.strip_prefix(name.as_str())? {
        "" => Some(1),
        rest => rest.strip_prefix('/')?.parse().ok().filter(|number| *number > 1),
    }
}

/// The one to go on with. `current`: the last that there was; `all`: each that ever was; `is_whole`: the
/// ledger goes on from what was signed under it.
pub(super) fn next(
    name: &KeyName,
    current: Option<&str>,
    all: &[String],
    is_whole: bool,
) -> String {
    if let Some(current) = current.filter(|it| is_whole && generation(name, it).is_some()) {
        return current.to_owned();
    }
    // One that was left for another name is not taken up again: nobody looks what it promised.
    match all.iter().filter_map(|origin| generation(name, origin)).max() {
        None => name.to_string(),
        Some(number) => format!("{name}/{}", number + 1),
    }
}
