//! Who may connect to a Unix socket.

use rustix::fs::Mode;

/// Where the groups of this machine are (group(5)). Those of a directory service have to be given
/// by their numbers.
const GROUPS: &str = "/etc/group";

/// The permissions of the file of a Unix socket. What is not set is as the process's umask and
/// group have it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketAccess {
    pub(crate) mode: Option<Mode>,
    /// The number of the group.
    pub(crate) group: Option<u32>,
}

impl SocketAccess {
    pub(crate) fn is_default(self) -> bool {
        self.mode.is_none() && self.group.is_none()
    }
}

/// Reads a mode in octal, as chmod takes it.
pub(crate) fn mode(text: &str) -> Result<Mode, String> {
    let bits = u32::from_str_radix(text, 8).ok();
    let bits = bits.filter(|bits| *bits <= 0o777 && !text.starts_with('+'));
    let mode = bits.map(Mode::from_raw_mode);
    mode.ok_or_else(|| format!("{text:?} is not a mode: write an octal number, as in 0660"))
}

/// Reads the number of a group, or looks its name up.
pub(crate) fn group(text: &str) -> Result<u32, String> {
    let by_name = || find(&std::fs::read_to_string(GROUPS).ok()?, text);
    let number = text.parse().ok().or_else(by_name);
    number.ok_or_else(|| format!("{text:?} is not a group of this system, and not a number"))
}

fn find(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name && !name.is_empty();
        found.then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0660"), Ok(Mode::from_raw_mode(0o660)));
        assert_eq!(mode("777"), Ok(Mode::from_raw_mode(0o777)));
        for wrong in ["", "0888", "1777", "rw", "-1", "+7"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nwww-data:x:33:ann\nbroken\nodd:x:y:\n";
        assert_eq!(find(groups, "www-data"), Some(33));
        for name in ["www", "ann", "broken", "odd", ""] {
            assert_eq!(find(groups, name), None, "{name:?}");
        }
    }
}
