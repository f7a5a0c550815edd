use std::io::{IoSlice, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;
use underpass_tls::*;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    s.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn main() {
    let plain = vec![7u8; 64 << 20];
    if std::env::var_os("RAW").is_some() {
        use aws_lc_rs::aead::*;
        for (name, alg) in [("aws-lc aes128gcm", &AES_128_GCM), ("aws-lc aes256gcm", &AES_256_GCM), ("aws-lc chacha20", &CHACHA20_POLY1305)] {
            let key = LessSafeKey::new(UnboundKey::new(alg, &[1u8; 32][..alg.key_len()]).unwrap());
            let mut out = vec![0u8; 8 * 16500];
            for how in ["out of place", "copy, in place"] {
                let t = cpu();
                let mut n = 0u64;
                for round in 0..16u64 {
                    for (i, c) in plain.chunks(16384).enumerate() {
                        let mut nonce = [0u8; 12];
                        nonce[4..].copy_from_slice(&(round << 32 | i as u64).to_be_bytes());
                        let nonce = Nonce::assume_unique_for_key(nonce);
                        let o = &mut out[(i % 8) * 16500..][..16384 + 17];
                        if how == "out of place" {
                            let (o, rest) = o.split_at_mut(16384);
                            key.seal_out_of_place_scatter(nonce, Aad::from([0u8; 5]), c, o, &[23], rest).unwrap();
                        } else {
                            o[..16384].copy_from_slice(c);
                            o[16384] = 23;
                            let tag = key.seal_in_place_separate_tag(nonce, Aad::from([0u8; 5]), &mut o[..16385]).unwrap();
                            o[16385..].copy_from_slice(tag.as_ref());
                        }
                        n += c.len() as u64;
                    }
                }
                let t = cpu() - t;
                println!("{name}, {how}: {:.2} GB/s, {:.3} s/GB", n as f64 / t / 1e9, t / n as f64 * 1e9);
            }
        }
    }
    if std::env::var_os("RAW").is_some() {
        use ring::aead::*;
        for (name, alg) in [("ring aes128gcm", &AES_128_GCM), ("ring chacha20", &CHACHA20_POLY1305)] {
            let key = LessSafeKey::new(UnboundKey::new(alg, &[1u8; 32][..alg.key_len()]).unwrap());
            let mut out = vec![0u8; 8 * 16500];
            let t = cpu();
            let mut n = 0u64;
            for round in 0..16u64 {
                for (i, c) in plain.chunks(16384).enumerate() {
                    let mut nonce = [0u8; 12];
                    nonce[4..].copy_from_slice(&(round << 32 | i as u64).to_be_bytes());
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let o = &mut out[(i % 8) * 16500..][..16384 + 17];
                    o[..16384].copy_from_slice(c);
                    o[16384] = 23;
                    let tag = key.seal_in_place_separate_tag(nonce, Aad::from([0u8; 5]), &mut o[..16385]).unwrap();
                    o[16385..].copy_from_slice(tag.as_ref());
                    n += c.len() as u64;
                }
            }
            let t = cpu() - t;
            println!("{name}, copy, in place: {:.2} GB/s, {:.3} s/GB", n as f64 / t / 1e9, t / n as f64 * 1e9);
        }
    }
    // Our session over loopback; the peer only discards ciphertext.
    let identity = Identity::self_signed(["localhost"]).unwrap();
    let config = ServerConfig::new([identity.clone()]).unwrap();
    let client = ClientConfig::pinned(identity.fingerprint()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(addr).unwrap();
        let mut handshake = Handshake::client(&client, "localhost", socket.as_fd()).unwrap();
        let Progress::Done(session) = handshake.step(socket.as_fd()).unwrap() else { panic!() };
        println!("{}", session.info());
        let mut out = vec![0u8; 1 << 20];
        if std::env::args().nth(1).as_deref() == Some("open") {
            let c = cpu();
            let mut n = 0u64;
            loop { match session.receive(socket.as_fd(), &mut out) { Ok(0) | Err(_) => break, Ok(k) => n += k as u64 } }
            println!("receive: {:.3} CPU s/GB", (cpu() - c) / n as f64 * 1e9);
        } else {
            while socket.read(&mut out).unwrap() > 0 {}
        }
    });
    let (socket, _) = listener.accept().unwrap();
    let mut handshake = Handshake::server(&config, socket.as_fd()).unwrap();
    let Progress::Done(session) = handshake.step(socket.as_fd()).unwrap() else { panic!() };
    for how in ["mapped slice", "head and slice"] {
        let (c, w) = (cpu(), Instant::now());
        let mut n = 0u64;
        for _ in 0..32 {
            let mut at = 0;
            while at < plain.len() {
                let slice = IoSlice::new(&plain[at..]);
                let count = if how == "mapped slice" { session.send(socket.as_fd(), &[slice], false) } else {
                    session.send(socket.as_fd(), &[IoSlice::new(&plain[at..at + 300]), IoSlice::new(&plain[at + 300..])], false) };
                let count = count.unwrap();
                at += count;
                n += count as u64;
            }
        }
        let c = cpu() - c;
        println!("session, {how}: {:.3} CPU s/GB (seal and send), {:.2} GB/s of wall time", c / n as f64 * 1e9, n as f64 / w.elapsed().as_secs_f64() / 1e9);
    }
    // send(2) alone
    session.close(socket.as_fd()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    reader.join().unwrap();
}
