//! Fields that a server adds to every response.

use http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Clone, Debug, Default)]
pub(crate) struct AddedFields {
    fields: HeaderMap,
    /// The same as lines of a head, each with its end.
    lines: Vec<u8>,
}

impl AddedFields {
    pub(crate) fn add(&mut self, name: HeaderName, value: HeaderValue) {
        let parts = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        self.lines.extend(parts.concat());
        self.fields.append(name, value);
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            headers.append(name.clone(), value.clone());
        }
    }

    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_fields_say() {
        let mut added = AddedFields::default();
        let one = HeaderName::from_static("one");
        added.add(one.clone(), HeaderValue::from_static("1"));
        added.add(one, HeaderValue::from_static("2"));
        assert_eq!(added.lines(), b"one: 1\r\none: 2\r\n");
        let mut headers = HeaderMap::new();
        added.add_to(&mut headers);
        let values: Vec<_> = headers.get_all("one").iter().collect();
        assert_eq!(values, ["1", "2"]);
    }
}
