//! Which program this process is, by what name, as which user, and where: what others may take it
//! for. It sends nothing.

use std::{
    ffi::{CString, c_char},
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    mount::mount_bind_recursive,
    process::{DumpableBehavior, chroot, set_dumpable_behavior},
    thread::{UnshareFlags, set_name, unshare_unsafe},
};

use crate::socket::check;

fn c_string(text: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// execve(2); returns only if it fails.
pub(crate) fn execute(path: &str, words: Vec<String>) -> io::Error {
    let error = Command::new(path).args(words).exec();
    io::Error::other(format!("exec {path}: {error}"))
}

/// fexecve(3); returns only if it fails.
pub(crate) fn execute_file(file: RawFd, words: &[String]) -> io::Error {
    let words: io::Result<Vec<CString>> =
        [&"file".to_owned()].into_iter().chain(words).map(|word| c_string(word.as_str())).collect();
    let words = match words {
        Ok(words) => words,
        Err(error) => return error,
    };
    let mut arguments: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(ptr::null());
    let environment = [ptr::null()];
    // SAFETY: both lists end with null and hold C strings that live through the call.
    unsafe { libc::fexecve(file, arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// A copy of a program that no file system shows.
pub(crate) fn in_memory(path: &str, name: &str) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MemfdFlags::CLOEXEC)?;
    File::from(memory.try_clone()?).write_all(&fs::read(path)?)?;
    Ok(memory)
}

/// What `comm` shows (`PR_SET_NAME`).
pub(crate) fn call_itself(name: &str) -> io::Result<()> {
    set_name(&c_string(name)?).map_err(Into::into)
}

/// Real and effective user, and the saved one: there is no way back.
pub(crate) fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no groups, so the pointer is not read.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: setresgid(2) takes no pointers.
    check(unsafe { libc::setresgid(uid, uid, uid) })?;
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(uid, uid, uid) })?;
    be_seen()
}

/// As this user until the next change: root stays the saved user, and is taken back for it.
pub(crate) fn change_user(uid: u32) -> io::Result<()> {
    let same = u32::MAX;
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(same, 0, same) })?;
    // SAFETY: as above.
    check(unsafe { libc::setresuid(uid, uid, 0) })?;
    be_seen()
}

/// An exec makes the effective user the saved one: root, so that the next program may change, too.
pub(crate) fn hand_root_on() -> io::Result<()> {
    let same = u32::MAX;
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(same, 0, same) }).map(drop)
}

/// Otherwise /proc/self is root's after a change of users, until the next exec.
fn be_seen() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(Into::into)
}

pub(crate) fn enter_cgroup(directory: &str) -> io::Result<()> {
    fs::write(format!("{directory}/cgroup.procs"), "0")
}

/// A user and a mount namespace, in which this user is root: `unshare -Urm`.
pub(crate) fn own_namespaces() -> io::Result<()> {
    let uid = rustix::process::getuid().as_raw();
    // SAFETY: this process has one thread, and shares no descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
}

/// With what is mounted below: an unprivileged user may not uncover it.
pub(crate) fn bind(what: &str, over: &str) -> io::Result<()> {
    mount_bind_recursive(what, over).map_err(Into::into)
}

pub(crate) fn change_root(directory: &str) -> io::Result<()> {
    chroot(directory)?;
    std::env::set_current_dir("/")
}
