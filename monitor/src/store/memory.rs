//! Gives memory back to the system. Nothing else.

/// Gives freed memory back to the system after much was used: the allocator would keep it.
pub(super) fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointers and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
