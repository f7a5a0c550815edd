//! What TLS on an end can do to a transfer, with a layer that stands in for it.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::rig::{SourceKind, content, ext4, tcp, whole};
use super::{Call, Fault, Faulty, Made, Receipt, Route, Transfer};
use crate::fake_layer::{FakeLayer, KernelEnd, opened, sealed};
use crate::layer::{Layer, LayerError};
use crate::receipt::{CryptoPlace, CryptoWork, Evidence};
use crate::step::{Step, Wait};
use crate::transfer::drive_poll;
use crate::transfer::error::Error;

const ALL: SourceKind = SourceKind::Ext4;

fn run(transfer: Transfer<'_, OwnedFd, &File>, sys: Faulty) -> (Result<Receipt, Error>, Vec<Made>) {
    let mut machine = transfer.start_with(sys).unwrap();
    let result = drive_poll::drive(&mut machine).map(|()| machine.receipt(true));
    let log = machine.sys().log();
    (result, log)
}

/// A socket that gets `bytes`, and then the end of TCP.
fn fed(bytes: Vec<u8>) -> OwnedFd {
    let (near, far) = tcp();
    std::thread::spawn(move || File::from(far).write_all(&bytes).unwrap());
    near
}

fn collect(far: OwnedFd) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut got = Vec::new();
        // A connection that is reset has an end too.
        let _ = File::from(far).read_to_end(&mut got);
        got
    })
}

fn file() -> File {
    let mut file = ext4();
    file.write_all(content(ALL)).unwrap();
    file
}

/// Cut off between two records, in the middle of one, and in the head of one.
#[test]
fn a_stream_without_close_notify_is_never_complete() {
    let records = sealed(content(ALL), false);
    for end in [records.len(), records.len() - 100, 4 + 1, 0] {
        let to = ext4();
        let layer: Arc<dyn Layer> = Arc::new(FakeLayer::user());
        let source = fed(records[..end].to_vec());
        let transfer = Transfer::new(source, &to).range(..).source_layer(layer);
        let error = run(transfer, Faulty::default()).0.unwrap_err();
        assert_eq!(error.layer_error(), Some(LayerError::Cut), "{error}");
        assert!(error.is_disconnected() && !error.receipt().unwrap().complete);
        let (whole_records, _) = opened(&records[..end]);
        assert_eq!(error.bytes(), whole_records.len() as u64);
        assert_eq!(whole(&to), whole_records);
    }
}

#[test]
fn nor_is_one_with_tls_in_the_kernel() {
    for route in [Route::Splice, Route::ReadWrite] {
        let to = ext4();
        let layer: Arc<dyn Layer> = Arc::new(FakeLayer::kernel(KernelEnd::Cut));
        let source = fed(content(ALL).to_vec());
        let transfer = Transfer::new(source, &to).route(route).source_layer(layer);
        let error = run(transfer, Faulty::default()).0.unwrap_err();
        assert_eq!(error.layer_error(), Some(LayerError::Cut), "{error}");
        assert_eq!(error.bytes(), content(ALL).len() as u64, "{route}");
        assert_eq!(whole(&to), content(ALL), "{route}");
    }
}

#[test]
fn pitfall_39_a_control_record_is_handled_and_the_splice_goes_on() {
    let stops = [
        (Fault::Errno(Errno::IO), 1),
        (Fault::Errno(Errno::INVAL), 1),
        (Fault::Zero, 1),
        // A record without a byte: what comes next is data.
        (Fault::Zero, 0),
    ];
    for (fault, controls) in stops {
        // Filling the pipe is every other splice.
        for nth in [1, 3, 5] {
            let to = ext4();
            let layer = Arc::new(FakeLayer::kernel(KernelEnd::Closed));
            layer.controls.store(controls, Ordering::Relaxed);
            let sys = Faulty::default().at(Call::Splice, nth, fault);
            let content = &content(ALL)[..60_000];
            let source = fed(content.to_vec());
            // No splice finds too little, so that it is known which one is which.
            while rustix::io::ioctl_fionread(&source).unwrap() < 60_000 {
                std::thread::yield_now();
            }
            let transfer = Transfer::new(source, &to).budget(20_000);
            let asked = Arc::clone(&layer) as Arc<dyn Layer>;
            let receipt = run(transfer.source_layer(asked), sys).0.unwrap();
            assert_eq!(layer.controls.load(Ordering::Relaxed), 0);
            assert_eq!(receipt.fallbacks, [], "{fault:?} at {nth}");
            assert_eq!(receipt.route, Some(Route::Splice));
            assert_eq!(receipt.routes.len(), 1, "{:?}", receipt.routes);
            assert_eq!(whole(&to), content);
            let pass = &receipt.crypto.passes[0];
            assert_eq!(
                (pass.work, pass.place),
                (CryptoWork::Decrypt, CryptoPlace::Kernel)
            );
            assert_eq!(pass.bytes, receipt.bytes);
        }
    }
}

/// Each call ends its record, so that a call for another length wastes one.
#[test]
fn calls_for_tls_in_the_kernel_are_whole_records() {
    let (near, far) = tcp();
    let got = collect(far);
    let layer: Arc<dyn Layer> = Arc::new(FakeLayer::kernel(KernelEnd::Closed));
    let transfer = Transfer::new(file(), near)
        .range(..)
        .budget(40_000)
        .sink_layer(layer);
    let mut machine = transfer.start_with(Faulty::default()).unwrap();
    drive_poll::drive(&mut machine).unwrap();
    let receipt = machine.receipt(true);
    let log = machine.sys().log();
    drop(machine);
    let calls = log.iter().filter(|made| made.call == Call::Sendfile);
    let asked: Vec<_> = calls.map(|made| made.len).collect();
    let (last, before) = asked.split_last().unwrap();
    assert!(
        before.iter().all(|len| len % (16 << 10) == 0 && *len > 0),
        "{asked:?}"
    );
    assert!(*last <= 40_000 && before.len() > 8, "{asked:?}");
    assert_eq!(
        (receipt.route, receipt.fallbacks.len()),
        (Some(Route::Sendfile), 0)
    );
    let told = log.iter().filter(|made| made.call == Call::LayerSent);
    assert_eq!(told.count(), asked.len(), "the layer counts records by it");
    assert_eq!(got.join().unwrap(), content(ALL));
}

#[test]
fn a_file_is_sealed_from_its_mapping() {
    let (near, far) = tcp();
    let got = collect(far);
    let layer: Arc<dyn Layer> = Arc::new(FakeLayer::user());
    let transfer = Transfer::new(file(), near).range(..).sink_layer(layer);
    let mut machine = transfer.start_with(Faulty::default()).unwrap();
    drive_poll::drive(&mut machine).unwrap();
    let receipt = machine.receipt(true);
    assert_eq!(
        machine.sys().count(Call::Pread) + machine.sys().count(Call::Read),
        0
    );
    assert_eq!(machine.sys().count(Call::Map), 1);
    drop(machine);
    assert_eq!(
        (receipt.route, receipt.fallbacks.len()),
        (Some(Route::Seal), 0)
    );
    assert_eq!(receipt.crypto.cpu_bytes, receipt.bytes);
    assert_eq!(receipt.crypto.evidence, Evidence::Measured);
    assert_eq!(opened(&got.join().unwrap()).0, content(ALL));
}

#[test]
fn what_cannot_be_mapped_is_read() {
    let (near, far) = tcp();
    let got = collect(far);
    let layer: Arc<dyn Layer> = Arc::new(FakeLayer::user());
    let sys = Faulty::default().at(Call::Map, 1, Fault::Errno(Errno::NODEV));
    let transfer = Transfer::new(file(), near).range(..).sink_layer(layer);
    let mut machine = transfer.start_with(sys).unwrap();
    drive_poll::drive(&mut machine).unwrap();
    let receipt = machine.receipt(true);
    drop(machine);
    let left = &receipt.fallbacks[0];
    assert_eq!((left.from, left.to), (Route::Seal, Route::ReadWrite));
    assert_eq!(left.errno.as_deref(), Some("ENODEV"));
    assert_eq!(opened(&got.join().unwrap()).0, content(ALL));
}

/// On a page's border, which raises a signal, and within a page, which does not.
#[test]
fn pitfall_02_and_22_zeros_that_are_not_the_files_are_never_sent() {
    for cut in [96 << 10, (96 << 10) + 100] {
        let source = file();
        let truncated = source.try_clone().unwrap();
        let (near, far) = tcp();
        let got = collect(far);
        let layer: Arc<dyn Layer> = Arc::new(FakeLayer::user());
        let mut machine = Transfer::new(&source, near)
            .range(..)
            .budget(40_000)
            .sink_layer(layer)
            .progress(move |_| truncated.set_len(cut).unwrap())
            .start_with(Faulty::default())
            .unwrap();
        let error = drive_poll::drive(&mut machine).unwrap_err();
        drop(machine);
        assert!(error.is_source_truncated(), "{error}");
        let (sent, _) = opened(&got.join().unwrap());
        assert_eq!(error.bytes(), sent.len() as u64);
        assert!(sent.len() as u64 <= cut && content(ALL).starts_with(&sent));
    }
}

#[test]
fn what_never_left_this_process_is_not_delivered() {
    let (near, far) = tcp();
    sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
    sockopt::set_socket_recv_buffer_size(&far, 4096).unwrap();
    let layer = Arc::new(FakeLayer::user());
    let source = file();
    let sink_layer = Arc::clone(&layer) as Arc<dyn Layer>;
    let transfer = Transfer::new(&source, near).sink_layer(sink_layer);
    rustix::fs::seek(&source, rustix::fs::SeekFrom::Start(0)).unwrap();
    let mut machine = transfer.start_with(Faulty::default()).unwrap();
    while machine.step().unwrap() != Step::Blocked(Wait::Sink) {}
    assert!(layer.unsent() > 0);
    let receipt = machine.receipt(false);
    assert_eq!(machine.bytes(), receipt.bytes);
    drop(machine);
    let (sent, _) = opened(&collect(far).join().unwrap());
    assert_eq!(receipt.bytes, sent.len() as u64);
    let routed: u64 = receipt.routes.iter().map(|used| used.bytes).sum();
    assert_eq!(routed, receipt.bytes);
    // So that it can be sent again from there.
    assert_eq!(rustix::fs::tell(&source).unwrap(), receipt.bytes);
}
