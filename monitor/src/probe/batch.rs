//! A hash table, read many entries a call (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya does not
//! offer: one call a flow would cost a busy gateway a core.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use monitor_ebpf::sample::FlowKey;
use zerocopy::FromBytes;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries of flows asked for at first; doubled while a hash bucket holds more.
pub(super) const BATCH: usize = 1024;
const BATCH_MAX: usize = 1 << 18;

/// `union bpf_attr`, `batch` (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `union bpf_attr`, for one element.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Buffers for reading a hash table of these keys and values, kept from sweep to sweep.
pub(super) struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: FromBytes + Copy, V: FromBytes + Copy> Batch<K, V> {
    /// `entries`: asked for at first.
    pub(super) fn new(entries: usize) -> Self {
        let mut batch = Self { keys: Vec::new(), values: Vec::new() };
        batch.resize(entries);
        batch
    }

    fn resize(&mut self, entries: usize) {
        self.keys.resize_with(entries, K::new_zeroed);
        self.values.resize_with(entries, V::new_zeroed);
    }

    /// Every entry once, but for those that come, go or move meanwhile.
    pub(super) fn read(
        &mut self,
        map: BorrowedFd<'_>,
        each: &mut dyn FnMut(K, V),
    ) -> io::Result<()> {
        let mut position = 0_u32;
        let mut begun = false;
        loop {
            let mut next = 0_u32;
            let mut attr = BatchAttr {
                in_batch: if begun { (&raw const position) as u64 } else { 0 },
                out_batch: (&raw mut next) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: self.keys.len() as u32,
                map_fd: map.as_raw_fd().cast_unsigned(),
                ..BatchAttr::default()
            };
            // SAFETY: keys and values hold `count` entries of the map's sizes; the positions are
            // u32, as hash maps want them.
            let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
            let is_last = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && self.keys.len() < BATCH_MAX =>
                {
                    self.resize(self.keys.len() * 2);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let read = self.keys.iter().zip(&self.values).take(attr.count as usize);
            read.for_each(|(key, value)| each(*key, *value));
            if is_last {
                return Ok(());
            }
            position = next;
            begun = true;
        }
    }
}

/// The first values of an array of which each of `cpus` processors has its own (Linux 5.13): those of the
/// first, then those of the next. `values`: one for each processor of each key.
pub(super) fn look_up_array(
    map: BorrowedFd<'_>,
    cpus: usize,
    values: &mut [u64],
) -> io::Result<()> {
    let mut keys = vec![0_u32; values.len() / cpus.max(1)];
    let mut next = 0_u32;
    let mut attr = BatchAttr {
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd().cast_unsigned(),
        ..BatchAttr::default()
    };
    // SAFETY: keys hold `count` entries, and values as many for each processor.
    let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
    match result {
        // The end of the array.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ if attr.count as usize == keys.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// One value of such an array.
pub(super) fn look_up_index(map: BorrowedFd<'_>, index: u32, values: &mut [u64]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: (&raw const index) as u64,
        value: values.as_mut_ptr() as u64,
        ..ElementAttr::default()
    };
    // SAFETY: by the caller there is a value for each processor.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// The value of one entry. `T` is the map's.
pub(super) fn look_up<T: FromBytes>(map: BorrowedFd<'_>, key: &FlowKey) -> io::Result<Option<T>> {
    let mut value = T::new_zeroed();
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: std::ptr::from_ref(key) as u64,
        value: (&raw mut value) as u64,
        ..ElementAttr::default()
    };
    // SAFETY: key and value have the map's sizes.
    match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes one entry; `false`: it was gone already.
pub(super) fn delete(map: BorrowedFd<'_>, key: &FlowKey) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: std::ptr::from_ref(key) as u64,
        ..ElementAttr::default()
    };
    // SAFETY: the key has the map's key size.
    match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// bpf(2); what it returns is a descriptor for some commands.
///
/// # Safety
/// `attr` is what the command expects, and the memory it points to is there for it.
pub(super) unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: by the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
