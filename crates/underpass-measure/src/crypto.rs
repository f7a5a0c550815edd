//! How often each byte is encrypted: counted by the record layer of this program, and by a probe in
//! the kernel.

use underpass::receipt::{CryptoPlace, CryptoWork};

use crate::probe::{Sum, Work};
use crate::report::{Count, Crypto, CryptoPass};
use crate::sample::{Outcome, SampleSpec};

/// The passes of encryption of a way; `None` if it has no TLS.
pub(crate) fn passes(spec: &SampleSpec<'_>, outcome: &Outcome) -> Option<Crypto> {
    let place = spec.way.encrypts()?;
    let pass = |place, count| CryptoPass {
        work: CryptoWork::Encrypt,
        place,
        count,
    };
    let user = pass(CryptoPlace::User, in_this_process(spec, outcome));
    let kernel = in_kernel(spec, outcome, place);
    let kernel = kernel.map(|count| pass(CryptoPlace::Kernel, count));
    Some(Crypto::from_passes(
        [user].into_iter().chain(kernel).collect(),
    ))
}

fn in_this_process(spec: &SampleSpec<'_>, outcome: &Outcome) -> Count {
    let passes = outcome.encrypted as f64 / spec.total() as f64;
    Count::measured(
        passes,
        "counted by this program's record layer, as it encrypted",
    )
}

/// The kernel's passes. `None` if nobody counted them, and it has no key of the connection.
fn in_kernel(spec: &SampleSpec<'_>, outcome: &Outcome, place: CryptoPlace) -> Option<Count> {
    let Some(Sum { bytes, at, .. }) = outcome.counted.sum(Work::Encrypt) else {
        let once = || Count::expected(1.0, "TLS in the kernel encrypts each byte once");
        return (place == CryptoPlace::Kernel).then(once);
    };
    let at = format!("kprobes: {at}");
    Some(match bytes {
        Some(bytes) => Count::measured(*bytes as f64 / spec.total() as f64, at),
        None => Count::unknown(at),
    })
}
