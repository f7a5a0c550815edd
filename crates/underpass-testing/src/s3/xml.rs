//! The documents that S3 answers with.

/// A page of a list.
#[derive(Default)]
pub(super) struct Page {
    pub(super) count: usize,
    pub(super) last: Option<String>,
    pub(super) next: Option<String>,
    entries: String,
}

impl Page {
    pub(super) fn directory(&mut self, prefix: &str) {
        let prefix = escape(prefix);
        let texts = [
            "<CommonPrefixes><Prefix>",
            &prefix,
            "</Prefix></CommonPrefixes>",
        ];
        self.entries.extend(texts);
    }

    pub(super) fn object(&mut self, key: &str, size: usize, etag: &str, modified: &str) {
        let (key, etag) = (escape(key), escape(etag));
        let entry = format!(
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>\
             <ETag>{etag}</ETag><Size>{size}</Size></Contents>"
        );
        self.entries.push_str(&entry);
    }

    pub(super) fn finish(self) -> String {
        let next = self.next.map(|next| {
            let next = escape(&next);
            format!("<NextContinuationToken>{next}</NextContinuationToken>")
        });
        let more = next.is_some();
        document(
            "ListBucketResult",
            &format!(
                "<KeyCount>{}</KeyCount><IsTruncated>{more}</IsTruncated>{}{}",
                self.count,
                next.unwrap_or_default(),
                self.entries
            ),
        )
    }
}

pub(super) fn error(code: &str, message: &str) -> String {
    let message = escape(message);
    document(
        "Error",
        &format!("<Code>{code}</Code><Message>{message}</Message>"),
    )
}

pub(super) fn begun(key: &str, id: &str) -> String {
    let key = escape(key);
    let inner = format!("<Key>{key}</Key><UploadId>{id}</UploadId>");
    document("InitiateMultipartUploadResult", &inner)
}

pub(super) fn completed(key: &str, etag: &str) -> String {
    let (key, etag) = (escape(key), escape(etag));
    let inner = format!("<Key>{key}</Key><ETag>{etag}</ETag>");
    document("CompleteMultipartUploadResult", &inner)
}

fn document(name: &str, inner: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name}>{inner}</{name}>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
