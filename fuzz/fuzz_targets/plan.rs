//! Any two endpoints and options get a plan that ends in a working route, or a reason why there is
//! none.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use underpass::plan::{PlanOptions, Promise, plan};
use underpass::receipt::expected_copies;
use underpass::{Egress, Endpoint, FileSystem, Kind, Route};

#[derive(Arbitrary, Debug)]
struct Input {
    ends: [End; 2],
    length: Option<u64>,
    stable: bool,
    edit: bool,
    route: Option<u8>,
}

#[derive(Arbitrary, Debug)]
struct End {
    kind: u8,
    flags: [bool; 7],
    magic: Option<u32>,
    device: u64,
    size: Option<u64>,
    gathers: Option<Option<bool>>,
}

const KINDS: [Kind; 13] = [
    Kind::File,
    Kind::PseudoFile,
    Kind::BlockDevice,
    Kind::CharDevice,
    Kind::Terminal,
    Kind::Directory,
    Kind::Tcp,
    Kind::UnixStream,
    Kind::OtherStream,
    Kind::MessageSocket,
    Kind::Pipe,
    Kind::Memory,
    Kind::Other,
];

impl End {
    fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::assumed(KINDS[usize::from(self.kind) % KINDS.len()]);
        [
            endpoint.readable,
            endpoint.writable,
            endpoint.append,
            endpoint.nonblocking,
            endpoint.direct,
            endpoint.holes,
            endpoint.ulp,
        ] = self.flags;
        let known = |magic| FileSystem::assumed(u64::from(magic), self.device);
        endpoint.file_system = self.magic.map(known);
        endpoint.size = self.size;
        endpoint.egress = self.gathers.map(|gathers| Egress::assumed("eth0", gathers));
        endpoint
    }
}

fuzz_target!(|input: Input| {
    let [source, sink] = [&input.ends[0], &input.ends[1]].map(End::endpoint);
    let promise = if input.stable { Promise::Stable } else { Promise::Shared };
    let route = input.route.map(|route| Route::ALL[usize::from(route) % Route::ALL.len()]);
    let options = PlanOptions::of_length(input.length).promise(promise).edit(input.edit).route(route);
    match plan(&source, &sink, &options) {
        Ok(plan) => {
            let last = plan.routes.last().expect("a plan has a route").route;
            assert!(last == Route::ReadWrite || Some(last) == route);
            for choice in &plan.routes {
                assert!(!expected_copies(choice.route, &source, &sink).why.is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
