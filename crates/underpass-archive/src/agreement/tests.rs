use proptest::prelude::*;

use super::*;
use crate::tar::{Note, ReadKind, Reader, padding};

fn wishes() -> impl Strategy<Value = Wishes> {
    (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(verify, resume, single)| Wishes::new(verify, resume, single))
}

fn offer() -> impl Strategy<Value = Offer> {
    let path = prop::collection::vec(any::<u8>(), 0..300);
    (path, any::<u64>(), any::<i64>(), 0..1_000_000_000_u32)
        .prop_map(|(path, size, seconds, nano)| Offer::new(&path, size, (seconds, nano)))
}

fn have() -> impl Strategy<Value = Have> {
    prop_oneof![
        Just(Have::Nothing),
        Just(Have::Other),
        Just(Have::Working),
        any::<[u8; 32]>().prop_map(|hash| Have::Whole { hash }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(length, hash)| Have::Part { length, hash }),
    ]
}

proptest! {
    #[test]
    fn messages_are_read_as_they_were_written(
        wishes in wishes(),
        own in wishes(),
        have in have(),
        numbers in any::<[u64; 4]>(),
    ) {
        let hello = Hello::new(wishes);
        prop_assert_eq!(Hello::read(&hello.to_bytes()), Ok(hello));
        let answer = Answer::to(wishes, own);
        prop_assert_eq!(answer == Answer::Agreed, wishes == own);
        prop_assert_eq!(Answer::read(&answer.to_bytes()), Ok(answer));
        prop_assert_eq!(Have::read(&have.to_bytes()), Ok(have));
        let report = Report::new(numbers[0], numbers[1], numbers[2], numbers[3]);
        prop_assert_eq!(Report::read(&report.to_bytes()), Ok(report));
    }

    #[test]
    fn offers_are_read_as_they_were_written(all in prop::collection::vec(offer(), 0..50)) {
        let mut offers = Offers::default();
        for offer in &all {
            prop_assert!(offers.push(offer));
        }
        let note = offers.to_bytes();
        let mut input = &note[..];
        let member = Reader::new().next(&mut input).unwrap().unwrap();
        prop_assert_eq!(member.kind, ReadKind::Note(Note::Offers));
        let (content, rest) = input.split_at(member.stored as usize);
        prop_assert_eq!(rest.len() as u64, padding(member.stored));
        prop_assert_eq!(Offers::read(content).unwrap(), all);
    }

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(offers) = Offers::read(&bytes) {
            let mut again = Offers::default();
            prop_assert!(offers.iter().all(|offer| again.push(offer)));
            prop_assert_eq!(again.content(), &bytes[..]);
        }
        let mut have = [0; HAVE_LEN];
        let count = bytes.len().min(HAVE_LEN);
        have[..count].copy_from_slice(&bytes[..count]);
        have[0] %= 6;
        prop_assert_eq!(Have::read(&have).is_ok(), have[0] < 5);
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let good = Hello::new(Wishes::new(true, true, false)).to_bytes();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Hello::read(&bytes)
    };
    for (at, byte) in [(0, b'x'), (7, b'x'), (8, 2), (9, 8), (10, 1), (511, 1)] {
        assert!(changed(at, byte).is_err(), "{at}");
    }
    let mut answer = Answer::Agreed.to_bytes();
    answer[8] = 9;
    assert_eq!(Answer::read(&answer), Ok(Answer::Unknown));
    answer[8] = 1;
    answer[9] = 7;
    assert!(Answer::read(&answer).is_err());
}

#[test]
fn offers_are_bounded() {
    let mut offers = Offers::default();
    let short = Offer::new(b"a", 1, (0, 0));
    let pushed = (0..2000).take_while(|_| offers.push(&short)).count();
    assert_eq!(pushed, 1024);
    assert!(Offers::read(offers.content()).is_ok());
    let one_more = [offers.content(), &offers.content()[..23]].concat();
    assert!(Offers::read(&one_more).is_err());
    let long = Offer::new(&vec![b'p'; 65_535], 1, (0, 0));
    let mut offers = Offers::default();
    let pushed = (0..2000).take_while(|_| offers.push(&long)).count();
    assert_eq!(pushed, 3);
    assert!(!Offers::default().push(&Offer::new(&vec![b'p'; 65_536], 1, (0, 0))));
    assert!(Offers::check_len((256 << 10) + 1).is_err());
}
