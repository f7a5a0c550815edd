//! TCP relays side by side: the relay on one processor, both ends of every connection on the other.

pub(crate) mod bare;
pub(crate) mod bulk;
pub(crate) mod idle;
mod message;
pub(crate) mod messages;
mod pair;
mod stream;

use std::time::Duration;

use crate::bench::Bench;
use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::record::{Sample, Side};
use crate::server::running::Running;

use self::pair::Target;

/// Starts a relay, runs both ends on their processor, and checks that its bytes took the required
/// route.
fn measure(
    bench: &Bench,
    who: &Contender,
    route: Option<&str>,
    ends: impl FnOnce(&Target, &Running) -> Result<Sample> + Send,
) -> Result<Sample> {
    let target = Target::listen()?;
    let mut relay = Running::relay(bench, who, target.addr()?)?;
    let measured = bench.on_load_side(|| ends(&target, &relay));
    let measured = relay.explain(measured)?;
    let routes = relay.routes()?;
    if let (Some(route), Side::Ours) = (route, who.row.side) {
        check_route(route, routes.get(route).copied(), routes.values().sum())?;
    }
    Ok(measured.with_routes(routes))
}

/// A direction begins by copying, whatever it becomes. So a hundredth of the bytes may have taken
/// another route.
fn check_route(route: &str, by: Option<u64>, all: u64) -> Result<()> {
    let by = by.unwrap_or(0);
    if by > 0 && by >= all - all / 100 {
        return Ok(());
    }
    Err(Error::new(format!(
        "only {by} of {all} bytes went by {route}"
    )))
}

/// Time before the window: the queues grow to their full size, and each direction becomes bulk.
const WARMUP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_bytes_are_to_go_by_the_route() {
        assert!(check_route("splice", Some(995), 1000).is_ok());
        assert!(check_route("splice", Some(980), 1000).is_err());
        assert!(check_route("splice", None, 0).is_err());
    }
}
