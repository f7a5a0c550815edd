//! The messages of an agreement: whatever comes, nothing panics, and what is read is what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass_archive::agreement::{
    ANSWER_LEN, Answer, HAVE_LEN, HELLO_LEN, Have, Hello, Offers, REPORT_LEN, Report,
};
use underpass_archive::tar::Note;

fn fixed<const LEN: usize>(data: &[u8]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let count = data.len().min(LEN);
    bytes[..count].copy_from_slice(&data[..count]);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let hello: [u8; HELLO_LEN] = fixed(data);
    if let Ok(read) = Hello::read(&hello) {
        assert!(Hello::may_begin(data));
        assert_eq!(read.to_bytes(), hello);
    }
    let _ = Answer::read(&fixed::<ANSWER_LEN>(data));
    let _ = Report::read(&fixed::<REPORT_LEN>(data));
    if let Ok(have) = Have::read(&fixed::<HAVE_LEN>(data)) {
        assert_eq!(Have::read(&have.to_bytes()), Ok(have));
    }
    if let Ok(offers) = Offers::read(data) {
        let mut again = Offers::default();
        assert!(offers.iter().all(|offer| again.push(offer)));
        assert_eq!(again.content(), data);
    }
    let _ = Note::read_goes_on(data);
    let _ = Note::read_hash(data);
});
