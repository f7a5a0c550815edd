//! Names that were meant.

/// How similar a known name must be to be the one that was meant: 1 is the same. clap's 0.7 takes
/// `frobnicate` for `no-archive`.
const SIMILAR: f64 = 0.8;

/// What to write instead of an unknown name.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let bare = name.trim_start_matches('-').replace('_', "-");
    let scored = known.map(|it| (strsim::jaro_winkler(it, &bare), it));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    let (_, best) = best.filter(|(score, _)| *score > SIMILAR)?;
    Some(format!("write {best}"))
}
