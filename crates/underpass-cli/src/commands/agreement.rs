//! What `send` and `recv` agree on when they are asked to verify or to resume.

use std::io::{Read, Write};
use std::time::Duration;

use underpass_archive::agreement::{ANSWER_LEN, Answer, Wishes};

use crate::exit::Failure;
use crate::io::PeerStream;

/// How long the other side may take to answer a greeting, unless `--timeout` is shorter. Programs
/// that are not underpass never do.
const LONGEST: Duration = Duration::from_secs(20);

/// How long a refusal may take to its sender.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn limit(timeout: Option<Duration>) -> Duration {
    timeout.map_or(LONGEST, |timeout| timeout.min(LONGEST))
}

/// Refuses each of `options` that was given.
pub(super) fn refuse(options: &[(bool, &str)], why: &str) -> Result<(), Failure> {
    match options.iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(Failure::usage(format_args!("{option} {why}"))),
        None => Ok(()),
    }
}

/// Tells the sender what was asked for here. It may be gone already. A refusal is followed by a
/// reset, which could overtake it: so it is waited for until the sender's kernel has it.
pub(super) fn answer(stream: &PeerStream<'_>, answer: Answer) {
    let mut stream = stream.within(Some(limit(None)));
    let before = stream.acknowledged();
    let said = stream.write_all(&answer.to_bytes());
    if said.and_then(|()| stream.flush()).is_ok() && answer != Answer::Agreed {
        let wanted = before.map(|before| before + ANSWER_LEN as u64);
        let arrived = || stream.acknowledged() >= wanted;
        stream.until(ARRIVES_WITHIN, arrived);
    }
}

/// After the connection broke: the answer of a receiver that gave up because it was asked for
/// something else. It is in the socket already, if there is one.
pub(super) fn refusal(stream: &PeerStream<'_>) -> Option<Answer> {
    let mut bytes = [0; ANSWER_LEN];
    let mut stream = stream.within(Some(Duration::ZERO));
    stream.read_exact(&mut bytes).ok()?;
    Answer::read(&bytes).ok()
}

/// The same in what the sender has read already.
pub(super) fn refusal_in(heard: &[u8]) -> Option<Answer> {
    Answer::read(heard.first_chunk()?).ok()
}

/// Why a sender that was asked for `own` gives up after an answer; `None` if it need not.
pub(super) fn why_not(answer: Answer, own: Wishes) -> Option<String> {
    match answer {
        Answer::Agreed => None,
        Answer::Differs(theirs) => Some(differ("recv", theirs, "send", own)),
        _ => Some("recv is of another version of underpass".to_owned()),
    }
}

/// A clause for a side that was asked for `own`, while the other one was asked for `theirs`.
pub(super) fn differ(they: &str, theirs: Wishes, we: &str, own: Wishes) -> String {
    let same = (theirs.verify, theirs.resume) == (own.verify, own.resume);
    if !same {
        return format!("{they} was given {theirs}, {we} {own}; give both the same");
    }
    let (one, many) = ("a single file", "a directory or several files");
    match (they, theirs.single) {
        ("recv", true) => {
            format!("recv writes {one}, and {many} were to be sent; name a DIR/ there")
        }
        ("recv", false) => {
            format!("recv unpacks {many}, and {one} was to be sent; name a FILE there")
        }
        (_, true) => format!("{they} sends {one}; name a FILE instead of a DIR/"),
        (_, false) => format!("{they} sends {many}; name a DIR/ instead of a FILE"),
    }
}
