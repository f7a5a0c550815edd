//! What one step of a transfer, a relay or a fan-out did.

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// This many bytes reached the sink, and there may be more to do at once. It is 0 if bytes were
    /// read and none reached the sink yet.
    Moved(u64),
    /// Nothing moved: step again when what it waits for has come.
    Blocked(Wait),
    /// All is delivered.
    Done,
}

/// What to wait for before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// The source has nothing to read yet: poll it for `POLLIN`.
    Source,
    /// The sink takes nothing yet: poll it for `POLLOUT`.
    Sink,
    /// Everything is sent, but the kernel still refers to the memory. It reports on the sink's
    /// error queue: poll the sink for `POLLERR`.
    Release,
}
