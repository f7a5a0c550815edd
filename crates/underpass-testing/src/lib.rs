//! What the tests of all crates share: content, and telling what a machine lacks.

mod content;
pub mod needs;
mod program;

pub use content::bytes;
pub use program::is_static;
