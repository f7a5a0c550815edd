//! Bytes pass under user space.
