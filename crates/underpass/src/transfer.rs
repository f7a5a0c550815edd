//! Moving bytes from a source to a sink.

pub use builder::Transfer;
pub use error::Error;
pub use input::Input;
pub use running::Running;
pub use sequence::{EndedEarly, GATHER_UP_TO, Part, Parts, RunningSequence, Sequence};
pub use settings::{DEFAULT_BUDGET, Progress};

mod builder;
mod counters;
mod drive_poll;
#[cfg(feature = "tokio")]
mod drive_tokio;
mod driven;
mod error;
mod extents;
#[cfg(test)]
mod faults;
mod input;
mod machine;
mod running;
mod sequence;
mod settings;
mod setup;
