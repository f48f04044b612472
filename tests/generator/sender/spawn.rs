//! Many short runs: children that each do the same words with a destination of their own. Says whose
//! each destination is.

use std::{io, net::SocketAddr};

use serde_json::json;

use crate::{say, socket::check, steps::Steps};

/// Children at a time.
const AT_A_TIME: usize = 4;

/// Does `work` in a forked child.
pub(crate) fn child(work: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let done = work();
        if let Err(error) = &done {
            eprintln!("sender: {error}");
        }
        // SAFETY: _exit(2) takes no pointers and does not return.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    Ok(pid)
}

/// Waits for the end of a child, which must be a good one; -1: of any.
pub(crate) fn wait_for(pid: i32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    let ended = check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    if status == 0 { Ok(()) } else { Err(io::Error::other(format!("{ended} ended as {status}"))) }
}

/// The words of each run, `{to}` its destination (ports count up from that of `first`) and `{run}`
/// its number.
pub(crate) fn many(count: u16, first: SocketAddr, words: &[String]) -> io::Result<()> {
    let mut running = 0;
    for run in 0..count {
        if running == AT_A_TIME {
            wait_for(-1)?;
            running -= 1;
        }
        let to = SocketAddr::new(first.ip(), first.port() + run).to_string();
        let mut own: Vec<String> = Vec::with_capacity(words.len());
        for word in words {
            own.push(word.replace("{to}", &to).replace("{run}", &run.to_string()));
        }
        let pid = child(|| Steps::of(own).run())?;
        running += 1;
        say(&json!({ "pid": pid, "to": to, "run": run }))?;
    }
    (0..running).try_for_each(|_| wait_for(-1))
}
