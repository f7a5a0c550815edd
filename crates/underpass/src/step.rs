//! What one step of a transfer, a relay or a fan-out did.

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The sink was given this many bytes; there may be more to do at once. It is 0 when an edit
    /// kept nothing of what was taken.
    Moved(u64),
    /// Nothing moved: step again when what it waits for has come.
    Blocked(Wait),
    /// All is delivered.
    Done,
}

/// What a transfer that cannot go on is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// The source has nothing to read yet: poll it for `POLLIN`.
    Source,
    /// The sink takes nothing yet: poll it for `POLLOUT`.
    Sink,
    /// All is sent, but the kernel still refers to the memory it was sent from; it tells on the
    /// sink's error queue: poll the sink for `POLLERR`.
    Release,
}
