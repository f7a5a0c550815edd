//! What the tests of all crates share: content, and telling what a machine lacks.

mod content;
pub mod needs;

pub use content::bytes;
