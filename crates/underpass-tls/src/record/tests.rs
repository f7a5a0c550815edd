use std::io::IoSlice;

use proptest::collection::vec;
use proptest::prelude::*;
use underpass::{TlsCipher, TlsVersion};

use super::*;

const CIPHERS: [TlsCipher; 3] = [
    TlsCipher::Aes128Gcm,
    TlsCipher::Aes256Gcm,
    TlsCipher::ChaCha20Poly1305,
];

fn key(version: TlsVersion, cipher: TlsCipher, sequence: u64) -> TrafficKey {
    let key = match cipher {
        TlsCipher::Aes128Gcm => &[7; 32][..16],
        _ => &[7; 32][..],
    };
    let iv = &[9; 12];
    TrafficKey::new(version, sequence, &KeyMaterial { cipher, key, iv }).unwrap()
}

/// Seals all of `slices`, in as many batches as it takes.
fn seal(key: &mut TrafficKey, slices: &[Vec<u8>]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let mut left: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
    loop {
        let now: Vec<_> = left.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut outgoing = Outgoing::take();
        let mut count = outgoing.seal_data(key, &now).unwrap();
        sealed.extend_from_slice(outgoing.unsent());
        assert_eq!(outgoing.unsent_data(), count);
        outgoing.give_back();
        if count == 0 {
            return sealed;
        }
        for slice in &mut left {
            let taken = count.min(slice.len());
            *slice = &slice[taken..];
            count -= taken;
        }
    }
}

/// Opens a stream of records; `room` is how much there is room for at a time.
fn open(key: &mut TrafficKey, mut stream: &[u8], room: usize) -> Result<Vec<u8>, KeyError> {
    let mut plain = Vec::new();
    while let Some(header) = Header::of(stream) {
        let mut body = stream[HEADER_LEN..header.record_len()].to_vec();
        let mut out = vec![0; room];
        let opened = key.open(header.0, &mut body, &mut out)?;
        assert_eq!(opened.content_type, ContentType::APPLICATION_DATA);
        plain.extend_from_slice(match opened.at {
            Some(at) => &body[at..at + opened.len],
            None => &out[..opened.len],
        });
        stream = &stream[header.record_len()..];
    }
    Ok(plain)
}

fn any_key() -> impl Strategy<Value = (TlsVersion, TlsCipher, u64)> {
    let version = prop_oneof![Just(TlsVersion::Tls12), Just(TlsVersion::Tls13)];
    let cipher = (0..CIPHERS.len()).prop_map(|at| CIPHERS[at]);
    (version, cipher, 0..1_000_000_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_is_opened(
        (version, cipher, sequence) in any_key(),
        lengths in vec(prop_oneof![0..100_usize, 16_000..17_000_usize, 0..60_000_usize], 1..8),
        room in prop_oneof![Just(0_usize), Just(100), Just(20_000)],
    ) {
        let slices: Vec<Vec<u8>> = lengths
            .iter()
            .enumerate()
            .map(|(at, len)| vec![at as u8 + 1; *len])
            .collect();
        let sealed = seal(&mut key(version, cipher, sequence), &slices);
        let opened = open(&mut key(version, cipher, sequence), &sealed, room);
        prop_assert!(opened == Ok(slices.concat()));
    }

    #[test]
    fn a_record_that_was_changed_is_not_opened(
        (version, cipher, sequence) in any_key(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut sealed = seal(&mut key(version, cipher, sequence), &[b"twelve bytes".to_vec()]);
        // The length is another record then; the type and the version are authenticated.
        let place = at.index(sealed.len());
        prop_assume!(place != 3 && place != 4);
        sealed[place] ^= 1 << bit;
        // In TLS 1.2 the version is written as it was agreed on.
        let opened = open(&mut key(version, cipher, sequence), &sealed, 100);
        prop_assert!(opened.is_err());
    }

    #[test]
    fn a_record_out_of_turn_is_not_opened(
        (version, cipher, sequence) in any_key(),
        other in 0..1_000_000_u64,
    ) {
        prop_assume!(sequence != other);
        let sealed = seal(&mut key(version, cipher, sequence), &[vec![1; 100]]);
        let opened = open(&mut key(version, cipher, other), &sealed, 100);
        prop_assert_eq!(opened, Err(KeyError::Rejected));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        (version, cipher, sequence) in any_key(),
        mut body in vec(any::<u8>(), 0..200),
        header in any::<[u8; HEADER_LEN]>(),
    ) {
        let opened = key(version, cipher, sequence).open(header, &mut body, &mut [0; 50]);
        prop_assert!(opened.is_err());
    }
}

/// The content of each record that `slices` make.
fn lengths(slices: &[Vec<u8>]) -> Vec<usize> {
    let mut key = key(TlsVersion::Tls13, TlsCipher::Aes128Gcm, 0);
    let sealed = seal(&mut key, slices);
    let (mut rest, mut lengths) = (&sealed[..], Vec::new());
    while let Some(header) = Header::of(rest) {
        lengths.push(header.record_len() - key.overhead());
        rest = &rest[header.record_len()..];
    }
    lengths
}

fn slices<const N: usize>(lengths: [usize; N]) -> Vec<Vec<u8>> {
    lengths.map(|len| vec![1; len]).into()
}

#[test]
fn a_slice_that_fills_records_is_sealed_from_where_it_is() {
    assert_eq!(lengths(&slices([300, 1000])), [1300]);
    let filled = [300, 16_384, 16_384, 7232];
    assert_eq!(lengths(&slices([300, 40_000])), filled);
    assert_eq!(lengths(&slices([300, 40_000, 300, 10])), {
        let mut filled = filled;
        filled[3] += 310;
        filled
    });
    // One record is worth a copy.
    assert_eq!(lengths(&slices([300, 16_084])), [16_384]);
    assert_eq!(lengths(&slices([300, 16_085])), [300, 16_085]);
}

/// What h2 copies behind the head of a frame is 256 bytes with it. That shares a record with the
/// frame before, so no file is copied, and there are as many records as frames, and one.
#[test]
fn pitfall_48_frames_are_sealed_from_where_they_are() {
    let frames = |len: usize| [256, len - 247].repeat(8);
    let frames = |len| frames(len).into_iter().map(|len| vec![1; len]);
    let full = frames(16_375).collect::<Vec<_>>();
    let middle = [16_384; 7].to_vec();
    assert_eq!(lengths(&full), [vec![256], middle, vec![16_128]].concat());
    // With nine bytes more each head has a record of its own.
    let over = frames(16_384).collect::<Vec<_>>();
    assert_eq!(lengths(&over), [256, 16_137].repeat(8));
}

#[test]
fn pitfall_41_a_key_is_used_up() {
    let mut gcm = key(
        TlsVersion::Tls13,
        TlsCipher::Aes128Gcm,
        GCM_RECORD_LIMIT - 1,
    );
    let mut record = vec![0; 1 + gcm.overhead()];
    assert_eq!(gcm.records_left(), 1);
    gcm.seal(ContentType::APPLICATION_DATA, b"1", b"", &mut record)
        .unwrap();
    let refused = gcm.seal(ContentType::APPLICATION_DATA, b"1", b"", &mut record);
    assert_eq!(refused, Err(KeyError::UsedUp));
    let chacha = key(
        TlsVersion::Tls13,
        TlsCipher::ChaCha20Poly1305,
        GCM_RECORD_LIMIT,
    );
    assert!(chacha.records_left() > GCM_RECORD_LIMIT);
}

/// RFC 8446 section 5.4: a record of nothing but padding has no type.
#[test]
fn a_record_without_a_type_is_refused() {
    let sealing = || key(TlsVersion::Tls13, TlsCipher::Aes128Gcm, 5);
    let mut record = vec![0; 10 + sealing().overhead()];
    sealing()
        .seal(ContentType(0), &[0; 10], b"", &mut record)
        .unwrap();
    let (header, body) = record.split_first_chunk_mut().unwrap();
    let opened = sealing().open(*header, body, &mut [0; 100]);
    assert_eq!(opened, Err(KeyError::NoContentType));
}

#[test]
fn buffers_are_given_back_when_they_are_empty() {
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let fd = std::os::fd::AsFd::as_fd(&other);
    let mut incoming = Incoming::default();
    std::io::Write::write_all(&mut &one, &[23, 3, 3, 0, 100, 1, 2]).unwrap();
    assert_eq!(incoming.read(fd, 10).unwrap(), 7);
    incoming.rest();
    assert_eq!(incoming.memory(), 7, "half a record stays, and no more");
    std::io::Write::write_all(&mut &one, &[0; 98]).unwrap();
    assert_eq!(incoming.read(fd, 10).unwrap(), 98);
    assert!(incoming.has_record());
    incoming.take_record(incoming.header().unwrap());
    incoming.rest();
    assert_eq!(incoming.memory(), 0);
}
