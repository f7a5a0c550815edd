//! Tests the plan as a table, and its invariants as properties.

use proptest::prelude::*;

use super::*;
use crate::endpoint::FileSystem;
use crate::layer::{Tls, TlsCipher, TlsMode, TlsVersion};
use Route::{CopyFileRange, ReadWrite, Reflink, Seal, SendZerocopy, Sendfile, Splice};

const EXT4: u64 = 0xEF53;
const BTRFS: u64 = 0x9123_683E;
const LARGE: PlanOptions = PlanOptions::of_length(Some(1 << 30));
const UNKNOWN: PlanOptions = PlanOptions::of_length(None);

fn file(magic: u64, device: u64) -> Endpoint {
    Endpoint {
        file_system: Some(FileSystem::assumed(magic, device)),
        size: Some(1 << 30),
        ..Endpoint::assumed(Kind::File)
    }
}

fn a(kind: Kind) -> Endpoint {
    Endpoint::assumed(kind)
}

fn tls(mode: TlsMode) -> Endpoint {
    a(Kind::Tcp).with_tls(Tls::new(mode, TlsVersion::Tls13, TlsCipher::Aes128Gcm))
}

fn in_kernel() -> Endpoint {
    Endpoint {
        ulp: true,
        ..tls(TlsMode::Kernel)
    }
}

fn in_process() -> Endpoint {
    let reason = "this kernel has no TLS".to_owned();
    tls(TlsMode::User { reason })
}

fn append(mut endpoint: Endpoint) -> Endpoint {
    endpoint.append = true;
    endpoint
}

fn routes(source: &Endpoint, sink: &Endpoint, options: &PlanOptions) -> Vec<Route> {
    let plan = plan(source, sink, options).expect("a plan");
    plan.routes.iter().map(|choice| choice.route).collect()
}

#[test]
fn each_pair_has_its_routes_in_order() {
    let ext4 = || file(EXT4, 1);
    let btrfs = || file(BTRFS, 2);
    let table: &[(Endpoint, Endpoint, PlanOptions, &[Route])] = &[
        (ext4(), a(Kind::Tcp), LARGE, &[Sendfile, Splice, ReadWrite]),
        (
            ext4(),
            a(Kind::UnixStream),
            LARGE,
            &[Sendfile, Splice, ReadWrite],
        ),
        (ext4(), a(Kind::Pipe), LARGE, &[Splice, ReadWrite]),
        (
            ext4(),
            file(EXT4, 1),
            LARGE,
            &[CopyFileRange, Sendfile, Splice, ReadWrite],
        ),
        (
            ext4(),
            file(EXT4, 9),
            LARGE,
            &[CopyFileRange, Sendfile, Splice, ReadWrite],
        ),
        (
            btrfs(),
            file(BTRFS, 2),
            LARGE,
            &[Reflink, CopyFileRange, Sendfile, Splice, ReadWrite],
        ),
        // Subvolumes of one btrfs have different device numbers, but can share extents.
        (
            btrfs(),
            file(BTRFS, 3),
            LARGE,
            &[Reflink, CopyFileRange, Sendfile, Splice, ReadWrite],
        ),
        (ext4(), btrfs(), LARGE, &[Sendfile, Splice, ReadWrite]),
        (
            a(Kind::BlockDevice),
            ext4(),
            LARGE,
            &[Sendfile, Splice, ReadWrite],
        ),
        (a(Kind::Pipe), a(Kind::Tcp), UNKNOWN, &[Splice, ReadWrite]),
        (a(Kind::Pipe), ext4(), UNKNOWN, &[Splice, ReadWrite]),
        (a(Kind::Pipe), a(Kind::Pipe), UNKNOWN, &[Splice, ReadWrite]),
        (a(Kind::Tcp), ext4(), UNKNOWN, &[Splice, ReadWrite]),
        (
            a(Kind::Tcp),
            a(Kind::UnixStream),
            UNKNOWN,
            &[Splice, ReadWrite],
        ),
        (
            a(Kind::CharDevice),
            a(Kind::Tcp),
            UNKNOWN,
            &[Splice, ReadWrite],
        ),
        (a(Kind::Terminal), a(Kind::Tcp), UNKNOWN, &[ReadWrite]),
        (a(Kind::Tcp), a(Kind::Terminal), UNKNOWN, &[ReadWrite]),
        (a(Kind::PseudoFile), a(Kind::Tcp), UNKNOWN, &[ReadWrite]),
        (
            a(Kind::Memory),
            a(Kind::Tcp),
            LARGE,
            &[SendZerocopy, ReadWrite],
        ),
        (a(Kind::Memory), a(Kind::UnixStream), LARGE, &[ReadWrite]),
        (ext4(), a(Kind::Tcp), LARGE.edit(true), &[ReadWrite]),
        (
            ext4(),
            a(Kind::Tcp),
            LARGE.promise(Promise::Stable),
            &[ReadWrite],
        ),
        (
            ext4(),
            a(Kind::Pipe),
            LARGE.promise(Promise::Stable),
            &[ReadWrite],
        ),
        (
            btrfs(),
            btrfs(),
            LARGE.promise(Promise::Stable),
            &[Reflink, CopyFileRange, Sendfile, Splice, ReadWrite],
        ),
        (
            a(Kind::Pipe),
            a(Kind::Tcp),
            UNKNOWN.promise(Promise::Stable),
            &[Splice, ReadWrite],
        ),
    ];
    for (source, sink, options, want) in table {
        let got = routes(source, sink, options);
        assert_eq!(&got, want, "{} -> {}, {options:?}", source.kind, sink.kind);
    }
}

#[test]
fn pitfall_05_an_append_sink_is_written_to() {
    for source in [file(EXT4, 1), file(BTRFS, 2), a(Kind::Pipe), a(Kind::Tcp)] {
        let sink = append(file(BTRFS, 2));
        assert_eq!(
            routes(&source, &sink, &LARGE),
            [ReadWrite],
            "{}",
            source.kind
        );
    }
}

#[test]
fn pitfall_03_a_size_of_zero_is_not_believed() {
    let mut empty = file(EXT4, 1);
    empty.size = Some(0);
    assert_eq!(routes(&empty, &a(Kind::Tcp), &UNKNOWN), [ReadWrite]);
    assert_eq!(routes(&empty, &file(EXT4, 1), &UNKNOWN), [ReadWrite]);
}

#[test]
fn pitfall_08_zfs_is_not_asked_for_holes() {
    assert!(!FileSystem::assumed(0x2fc1_2fc1, 1).knows_holes());
    assert!(FileSystem::assumed(EXT4, 1).knows_holes());
}

#[test]
fn the_crossing_point_decides_for_small_bodies() {
    let tcp = a(Kind::Tcp);
    let first = |length| routes(&file(EXT4, 1), &tcp, &PlanOptions::of_length(Some(length)))[0];
    assert_eq!(first(SENDFILE_FROM - 1), ReadWrite);
    assert_eq!(first(SENDFILE_FROM), Sendfile);
    let memory = |length| {
        routes(
            &a(Kind::Memory),
            &tcp,
            &PlanOptions::of_length(Some(length)),
        )[0]
    };
    assert_eq!(memory(ZEROCOPY_FROM - 1), ReadWrite);
    assert_eq!(memory(ZEROCOPY_FROM), SendZerocopy);
}

#[test]
fn a_forced_route_is_the_only_one_or_an_error_that_names_the_others() {
    let (source, sink) = (file(EXT4, 1), a(Kind::Tcp));
    assert_eq!(routes(&source, &sink, &LARGE.route(Some(Splice))), [Splice]);
    let error = plan(&source, &sink, &LARGE.route(Some(Reflink))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "route reflink cannot serve: only from a regular file to a regular file; \
         these would: sendfile, splice, read-write"
    );
}

#[test]
fn ends_that_cannot_be_used_are_refused() {
    let mut blind = a(Kind::Pipe);
    blind.readable = false;
    let mut full = a(Kind::File);
    full.writable = false;
    let tcp = || a(Kind::Tcp);
    let table = [
        (a(Kind::Directory), tcp(), "the source is a directory"),
        (tcp(), a(Kind::Directory), "the sink is a directory"),
        (blind, tcp(), "the source is not open for reading"),
        (tcp(), full, "the sink is not open for writing"),
        (
            a(Kind::MessageSocket),
            tcp(),
            "the source is a message socket; only streams can be moved",
        ),
    ];
    for (source, sink, want) in table {
        let error = plan(&source, &sink, &UNKNOWN).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn tls_decides_the_routes() {
    let ext4 = || file(EXT4, 1);
    let small = PlanOptions::of_length(Some(1000));
    let stable = LARGE.promise(Promise::Stable);
    let table: &[(Endpoint, Endpoint, PlanOptions, &[Route])] = &[
        (ext4(), in_kernel(), LARGE, &[Sendfile, Splice, ReadWrite]),
        (a(Kind::Pipe), in_kernel(), UNKNOWN, &[Splice, ReadWrite]),
        (in_kernel(), ext4(), UNKNOWN, &[Splice, ReadWrite]),
        (in_kernel(), in_kernel(), UNKNOWN, &[Splice, ReadWrite]),
        (a(Kind::Memory), in_kernel(), LARGE, &[ReadWrite]),
        (ext4(), in_process(), LARGE, &[Seal, ReadWrite]),
        (ext4(), in_process(), stable, &[Seal, ReadWrite]),
        (ext4(), in_process(), small, &[ReadWrite]),
        (ext4(), in_process(), LARGE.edit(true), &[ReadWrite]),
        (a(Kind::Memory), in_process(), small, &[Seal, ReadWrite]),
        (a(Kind::Pipe), in_process(), UNKNOWN, &[ReadWrite]),
        (in_process(), ext4(), UNKNOWN, &[ReadWrite]),
        (in_kernel(), in_process(), UNKNOWN, &[ReadWrite]),
        (in_process(), in_kernel(), UNKNOWN, &[ReadWrite]),
    ];
    for (source, sink, options, want) in table {
        let what = format!("{:?} -> {:?}", source.tls, sink.tls);
        assert_eq!(routes(source, sink, options), *want, "{what}");
    }
    let error = plan(&ext4(), &in_process(), &LARGE.route(Some(Sendfile))).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("TLS in user space") && told.contains("seal, read-write"),
        "{told}"
    );
    let error = plan(&ext4(), &in_kernel(), &LARGE.route(Some(Seal))).unwrap_err();
    assert!(error.to_string().contains("the kernel encrypts"), "{error}");
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    use Kind::*;
    let kinds = prop::sample::select(vec![
        File,
        PseudoFile,
        BlockDevice,
        CharDevice,
        Terminal,
        Directory,
        Tcp,
        UnixStream,
        OtherStream,
        MessageSocket,
        Pipe,
        Memory,
        Other,
    ]);
    let flags = any::<[bool; 6]>();
    let magics = prop::sample::select(vec![EXT4, BTRFS, 0x9fa0, 0x794c_7630, 1]);
    let layers = prop::sample::select(vec![None, in_kernel().tls, in_process().tls]);
    (kinds, flags, magics, 0_u64..3, any::<Option<u64>>(), layers).prop_map(
        |(kind, flags, magic, device, size, tls)| Endpoint {
            kind,
            readable: flags[0],
            writable: flags[1],
            append: flags[2],
            nonblocking: flags[3],
            ulp: flags[4],
            holes: flags[5],
            file_system: (kind == File).then_some(FileSystem::assumed(magic, device)),
            size,
            tls: tls.filter(|_| kind == Tcp),
            ..Endpoint::assumed(kind)
        },
    )
}

proptest! {
    #[test]
    fn a_plan_always_ends_in_a_route_that_works(
        source in any_endpoint(), sink in any_endpoint(), length: Option<u64>, edit: bool, stable: bool,
    ) {
        let promise = if stable { Promise::Stable } else { Promise::Shared };
        let options = PlanOptions::of_length(length).edit(edit).promise(promise);
        if let Ok(plan) = plan(&source, &sink, &options) {
            prop_assert_eq!(plan.routes.iter().filter(|c| c.route == ReadWrite).count(), 1);
            prop_assert_eq!(plan.routes.len() + plan.refused.len(), Route::ALL.len());
            prop_assert!(plan.routes.iter().chain(&plan.refused).all(|c| !c.reason.is_empty()));
            if edit {
                prop_assert_eq!(plan.routes.len(), 1);
            }
        }
    }

    #[test]
    fn a_forced_route_is_obeyed_or_refused(source in any_endpoint(), sink in any_endpoint(), which in 0..Route::ALL.len()) {
        let route = Route::ALL[which];
        match plan(&source, &sink, &UNKNOWN.route(Some(route))) {
            Ok(plan) => prop_assert!(plan.routes.len() == 1 && plan.routes[0].route == route),
            Err(PlanError::Route { asked, would }) => {
                prop_assert_eq!(asked.route, route);
                prop_assert!(!would.contains(&route));
            }
            Err(_) => {}
        }
    }
}
