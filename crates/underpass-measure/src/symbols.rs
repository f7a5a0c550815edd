//! The kernel's functions, by name and by address: /proc/kallsyms (proc(5)).

use std::io;

/// Functions in the order of their addresses, which are all 0 if the kernel hides them
/// (`kptr_restrict`).
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    functions: Vec<(u64, String)>,
}

impl Symbols {
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/kallsyms")?))
    }

    /// Parses lines of an address, a type and a name; types `t` and `T` are functions.
    pub(crate) fn parse(text: &str) -> Self {
        let function = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = words.next()?;
            kind.eq_ignore_ascii_case("t")
                .then(|| (address, name.to_owned()))
        };
        let mut functions: Vec<_> = text.lines().filter_map(function).collect();
        functions.sort();
        Self { functions }
    }

    /// Whether the kernel shows the addresses.
    pub(crate) fn has_addresses(&self) -> bool {
        self.functions
            .last()
            .is_some_and(|(address, _)| *address != 0)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|(_, known)| known == name)
    }

    /// The function that `address` lies in.
    pub(crate) fn at(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        let (_, name) = self.functions.get(after.checked_sub(1)?)?;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff81000040 t copies.isra.0
ffffffff81000080 d data
ffffffff81000100 T last\t[module]
not a line";

    #[test]
    fn an_address_is_in_the_function_that_starts_before_it() {
        let symbols = Symbols::parse(TEXT);
        assert_eq!(symbols.at(0xffff_ffff_8100_0041), Some("copies.isra.0"));
        assert_eq!(symbols.at(0xffff_ffff_8100_0100), Some("last"));
        assert_eq!(symbols.at(7), None);
        assert!(symbols.has_addresses() && symbols.has("_stext") && !symbols.has("data"));
        assert!(!Symbols::parse("0000000000000000 T _stext\n").has_addresses());
    }
}
