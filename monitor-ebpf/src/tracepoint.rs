//! Where the tracepoints' records keep what is read of them, in bytes from their start. The same on
//! every 64-bit kernel from 5.10 to 7.3; user space checks each against the kernel's `format` file.

/// `sched:sched_process_exec`, field `filename` (`__data_loc`).
pub const EXEC_FILENAME: usize = 8;
/// `task:task_newtask`, field `pid`.
pub const NEWTASK_PID: usize = 8;
/// `task:task_newtask`, field `clone_flags`.
pub const NEWTASK_CLONE_FLAGS: usize = 32;
/// `sock:sock_send_length` (Linux 6.3), field `sk`: the address of the socket.
pub const SEND_SOCKET: usize = 8;
/// `sock:sock_send_length`, field `family`.
pub const SEND_FAMILY: usize = 16;
/// `sock:sock_send_length`, field `protocol`.
pub const SEND_PROTOCOL: usize = 18;
/// `sock:sock_send_length`, field `ret`: bytes, or an error.
pub const SEND_RESULT: usize = 20;

/// Tracepoint, field, offset: what user space compares.
pub const EXPECTED: [(&str, &str, &str, usize); 7] = [
    ("sched", "sched_process_exec", "filename", EXEC_FILENAME),
    ("task", "task_newtask", "pid", NEWTASK_PID),
    ("task", "task_newtask", "clone_flags", NEWTASK_CLONE_FLAGS),
    ("sock", "sock_send_length", "sk", SEND_SOCKET),
    ("sock", "sock_send_length", "family", SEND_FAMILY),
    ("sock", "sock_send_length", "protocol", SEND_PROTOCOL),
    ("sock", "sock_send_length", "ret", SEND_RESULT),
];
