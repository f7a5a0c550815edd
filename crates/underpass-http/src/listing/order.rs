//! Sorting of entries.

use std::cmp::Ordering;

use super::{Entry, Kind, natural, value_of};

/// What entries are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    #[default]
    Name,
    Size,
    Modified,
}

impl By {
    /// Its name in a query string.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Modified => "modified",
        }
    }
}

/// How entries are sorted. Directories always come first, and ties are sorted by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) by: By,
    pub(crate) descending: bool,
}

impl Order {
    /// Parses `?sort=name|size|modified&order=asc|desc`. Unknown values are ignored.
    pub(crate) fn from_query(query: &str) -> Self {
        let asked = value_of(query, "sort");
        let by = [By::Name, By::Size, By::Modified]
            .into_iter()
            .find(|by| asked == Some(by.as_str()))
            .unwrap_or_default();
        Self {
            by,
            descending: value_of(query, "order") == Some("desc"),
        }
    }

    /// The query string of this order.
    pub(super) fn to_query(self) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        format!("?sort={}&order={order}", self.by.as_str())
    }

    pub(super) fn sort(self, entries: &mut [Entry]) {
        entries.sort_unstable_by(|a, b| self.compare(a, b));
    }

    fn compare(self, a: &Entry, b: &Entry) -> Ordering {
        let by_key = match self.by {
            By::Name => natural::compare(&a.name, &b.name),
            By::Size => a.size.cmp(&b.size),
            By::Modified => a.modified.cmp(&b.modified),
        };
        let by_key = if self.descending {
            by_key.reverse()
        } else {
            by_key
        };
        directories_first(a)
            .cmp(&directories_first(b))
            .then(by_key)
            .then_with(|| natural::compare(&a.name, &b.name))
    }
}

fn directories_first(entry: &Entry) -> bool {
    entry.kind != Kind::Directory
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn entry(name: &str, kind: Kind, size: u64, age: u64) -> Entry {
        Entry {
            name: name.into(),
            kind,
            size,
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)),
        }
    }

    fn sorted(query: &str) -> Vec<String> {
        let mut entries = vec![
            entry("b10", Kind::File, 5, 1),
            entry("z", Kind::Directory, 0, 2),
            entry("B2", Kind::File, 5, 3),
            entry("a", Kind::File, 7, 2),
            entry("Y", Kind::Directory, 0, 9),
        ];
        Order::from_query(query).sort(&mut entries);
        let names = entries.into_iter().map(|entry| entry.name);
        names.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn directories_come_first_whichever_way() {
        assert_eq!(sorted(""), ["Y", "z", "a", "B2", "b10"]);
        assert_eq!(sorted("order=desc"), ["z", "Y", "b10", "B2", "a"]);
        assert_eq!(sorted("sort=modified"), ["Y", "z", "B2", "a", "b10"]);
        assert_eq!(
            sorted("sort=modified&order=desc"),
            ["z", "Y", "b10", "a", "B2"]
        );
    }

    #[test]
    fn names_decide_between_equals_and_are_not_turned_round() {
        assert_eq!(sorted("sort=size"), ["Y", "z", "B2", "b10", "a"]);
        assert_eq!(sorted("sort=size&order=desc"), ["Y", "z", "a", "B2", "b10"]);
    }

    #[test]
    fn what_is_not_known_is_the_default() {
        for query in [
            "",
            "&&=&",
            "sort",
            "sort=",
            "sort=NAME",
            "order=up",
            "sort=%73ize",
            "Sort=size",
        ] {
            assert_eq!(Order::from_query(query), Order::default(), "{query}");
        }
        let half_known = Order::from_query("x=1&sort=size&order=sideways&sort=name");
        assert_eq!(half_known.by, By::Size, "the first value counts");
        assert!(!half_known.descending);
    }

    #[test]
    fn a_query_leads_back_to_its_order() {
        for by in [By::Name, By::Size, By::Modified] {
            for descending in [false, true] {
                let order = Order { by, descending };
                assert_eq!(Order::from_query(&order.to_query()[1..]), order);
            }
        }
    }
}
