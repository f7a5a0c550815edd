use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::sys::{Mapping, OpenFile};

/// A response's head and a part of its body, which is a file.
fn response(content: &[u8], outbox: &mut Outbox) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let mapping = Mapping::new(Arc::new(OpenFile::new(file).unwrap())).unwrap();
    let head = |kind, flags, len| FrameHead {
        len,
        kind,
        flags,
        stream: 1,
    };
    let fields = [7; 40];
    let headers = head(frame::HEADERS, frame::END_HEADERS, fields.len()).bytes();
    let data = head(frame::DATA, 0, content.len()).bytes();
    let body = mapping.bytes(0..content.len() as u64);
    let written: [&[u8]; 4] = [&headers, &fields, &data, &body];
    outbox.put(&written.map(IoSlice::new), &Streams::new());
    written.concat()
}

fn left(outbox: &Outbox) -> Vec<u8> {
    let mut slices = Vec::new();
    outbox.slices(usize::MAX, &mut slices);
    slices.iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Wherever sending pauses, the rest follows, and nothing twice.
#[test]
fn what_is_kept_of_a_frame_that_has_begun_is_its_rest() {
    let content = underpass_testing::bytes(1, 9000);
    let whole = response(&content, &mut Outbox::default());
    for sent in [
        0,
        1,
        8,
        9,
        20,
        48,
        49,
        50,
        57,
        58,
        59,
        5000,
        whole.len() - 1,
    ] {
        let mut outbox = Outbox::default();
        response(&content, &mut outbox);
        outbox.advance(sent, |_| {});
        outbox.keep_first().unwrap();
        assert_eq!(outbox.len(), whole.len() - sent, "{sent}");
        assert!(left(&outbox) == whole[sent..], "{sent}");
        // And again, further on.
        outbox.advance(1, |_| {});
        outbox.keep_first().unwrap();
        assert!(left(&outbox) == whole[sent + 1..], "{sent}");
    }
}
