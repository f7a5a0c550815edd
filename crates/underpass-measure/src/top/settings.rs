//! What is to be watched.

/// What is to be watched.
///
/// ```
/// use underpass_measure::top::TopSettings;
///
/// let mut settings = TopSettings::default();
/// settings.processes = vec![std::process::id()];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopSettings {
    /// The numbers of the processes to watch; empty for all processes of the machine.
    pub processes: Vec<u32>,
    /// Whether the children of [`processes`](Self::processes) are watched too, and their children,
    /// also those that are started later.
    pub descendants: bool,
    /// Whether to sample which share of the CPU time is spent in functions that copy.
    pub sample: bool,
}

impl Default for TopSettings {
    /// The whole machine, with samples.
    fn default() -> Self {
        Self {
            processes: Vec::new(),
            descendants: true,
            sample: true,
        }
    }
}
