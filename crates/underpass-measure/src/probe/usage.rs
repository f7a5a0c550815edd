//! getrusage(2) of the sending thread: CPU time and context switches. Every machine has it.

use std::io;

use underpass::Usage;

use super::{About, Counted, Probe};

#[derive(Debug, Default)]
pub(crate) struct ThreadUsage {
    before: Usage,
    used: Usage,
}

impl ThreadUsage {
    pub(super) const ABOUT: About = About {
        name: "usage",
        counts: "CPU time and context switches of the sending thread (getrusage)",
    };
}

impl Probe for ThreadUsage {
    fn start(&mut self) -> io::Result<()> {
        self.before = Usage::of_thread();
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        self.used = Usage::of_thread().since(&self.before);
        Ok(())
    }

    fn collect(&mut self, counted: &mut Counted) -> io::Result<()> {
        counted.usage = self.used;
        Ok(())
    }
}
