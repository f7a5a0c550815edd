//! A parsed response.

/// A parsed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) version: String,
    pub(crate) status: u16,
    /// The fields in order, with lower-case names.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Parses a head without the empty line at its end. There is no body yet.
    #[track_caller]
    pub(crate) fn of_head(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let (version, rest) = status_line.split_once(' ').expect("a status line");
        assert!(
            ["HTTP/1.1", "HTTP/1.0", "HTTP/2"].contains(&version),
            "{status_line:?}"
        );
        let fields = lines.map(|line| {
            assert!(
                line.bytes().all(|byte| (b' '..0x7F).contains(&byte)),
                "{line:?}"
            );
            let (name, value) = line.split_once(": ").expect("a field");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            version: version.to_owned(),
            status: rest[..3].parse().unwrap(),
            fields: fields.collect(),
            body: Vec::new(),
        }
    }

    /// The value of a field that may occur once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(its, _)| its == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{name} comes twice: {:?}", self.fields);
        value
    }

    #[track_caller]
    pub(crate) fn etag(&self) -> &str {
        self.field("etag").expect("an ETag")
    }

    /// The fields in no particular order, without the date, which may differ a moment later.
    pub(crate) fn undated(&self) -> Vec<(String, String)> {
        let fields = self.fields.iter().filter(|(name, _)| name != "date");
        let mut fields: Vec<_> = fields.cloned().collect();
        fields.sort();
        fields
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as text, for looking into it.
    pub(crate) fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    #[track_caller]
    pub(crate) fn has_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.shown());
        self
    }

    #[track_caller]
    pub(crate) fn has(self, name: &str, value: &str) -> Self {
        assert_eq!(self.field(name), Some(value), "{name} of {}", self.shown());
        self
    }

    #[track_caller]
    pub(crate) fn lacks(self, name: &str) -> Self {
        assert_eq!(self.field(name), None, "{name} of {}", self.shown());
        self
    }

    /// Checks the body. Bodies are long, so they are not printed if they differ.
    #[track_caller]
    pub(crate) fn has_body(self, body: &[u8]) -> Self {
        let same = self
            .body
            .iter()
            .zip(body)
            .take_while(|(a, b)| a == b)
            .count();
        assert!(
            self.body == body,
            "{} bytes, not {}; the first {same} are the same: {}",
            self.body.len(),
            body.len(),
            self.shown()
        );
        self
    }

    /// Checks that this is an error: one line of text that begins with its status.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16) -> Self {
        let this = self
            .has_status(status)
            .has("content-type", "text/plain; charset=utf-8");
        let text = this.text();
        assert!(text.starts_with(&status.to_string()), "{text:?}");
        assert!(
            text.ends_with('\n') && text.lines().count() == 1,
            "{text:?}"
        );
        this
    }

    fn shown(&self) -> String {
        let body = &self.body[..self.body.len().min(200)];
        format!("{} {:?} {}", self.status, self.fields, body.escape_ascii())
    }
}
