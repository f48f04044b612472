//! Which host this is: its name as configured or its own, and its machine id, hashed. It reads the host
//! and remembers nothing.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::{config::HostConfig, event::Host};

const MACHINE_ID: &str = "/etc/machine-id";
/// The machine id is not to be shown to others, and no two programs shall show the same of it: machine-id(5).
const PREFIX: &[u8] = b"geofenced host id 1\n";
/// Of a host whose own name can be none.
const NAMELESS: &str = "localhost";

/// This host.
pub fn host(config: &HostConfig) -> Host {
    let name = config.name.clone().unwrap_or_else(|| {
        let own = rustix::system::uname();
        usable(&own.nodename().to_string_lossy()).into()
    });
    Host { name, id: fs::read_to_string(MACHINE_ID).ok().and_then(|text| hashed(&text)) }
}

/// `None` where there is none yet: an image that was never booted says `uninitialized`.
fn hashed(machine_id: &str) -> Option<[u8; 32]> {
    let id = machine_id.trim();
    let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = |id: String| Sha256::new().chain_update(PREFIX).chain_update(id).finalize().into();
    is_one.then(|| digest(id.to_ascii_lowercase()))
}

/// The kernel takes any bytes as its name.
fn usable(own: &str) -> String {
    let letter = |it| if Host::is_name_char(it) { it } else { '-' };
    let name: String = own.chars().map(letter).collect();
    if Host::is_name(&name) { name } else { NAMELESS.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs::hex;

    #[test]
    fn the_machine_id_is_told_hashed_and_not_at_all_where_there_is_none() {
        let id = "0123456789abcdef0123456789abcdef\n";
        // printf 'geofenced host id 1\n0123456789abcdef0123456789abcdef' | sha256sum
        let expected = "12ffff5d5e7d36ef96b273d891da88161b6168ff9668e84178c8237618221c36";
        assert_eq!(hashed(id).map(|it| hex(&it)).as_deref(), Some(expected));
        assert_eq!(hashed(&id.to_uppercase()), hashed(id));
        for none in ["", "\n", "uninitialized\n", "0123"] {
            assert_eq!(hashed(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_name_that_the_kernel_has_and_nobody_could_configure_is_made_one() {
        assert_eq!(usable("uav-7"), "uav-7");
        assert_eq!(usable("a b+c\n"), "a-b-c-");
        assert_eq!(usable(""), NAMELESS);
    }
}
