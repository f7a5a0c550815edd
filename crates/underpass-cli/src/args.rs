//! The command-line arguments as they are typed. This module uses `values`, and no command.
//!
//! The structs have plain comments (`//`): clap would show a doc comment of a flattened struct as
//! the description of the command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as _, Parser, Subcommand};
use underpass::Route;
use underpass_archive::agreement::Wishes;

use crate::exit::{self, Failure};
use crate::values::{Address, ReceiptForm, duration, size};

mod acme;
mod archive;
mod bucket;
mod config;
mod fan_out;
mod https;
mod measure;
mod relay;
mod serve;
mod server;
mod tls;
mod top;

pub(crate) use acme::AcmeArgs;
pub(crate) use config::{ConfigArgs, ConfigFile};
pub(crate) use fan_out::{AlonePolicy, FanOutArgs, SlowPolicy};
pub(crate) use https::HttpsArgs;
pub(crate) use measure::{MeasureArgs, Measured};
pub(crate) use relay::RelayArgs;
pub(crate) use serve::{AccessArgs, ServeArgs};
pub(crate) use tls::{KtlsArgs, TlsClientArgs, TlsServerArgs};
pub(crate) use top::{SortBy, TopArgs, Watched};

/// Moves bytes between files, sockets and pipes without the CPU copying them, and prints what each
/// transfer cost.
#[derive(Debug, Parser)]
#[command(name = "underpass", version, propagate_version = true, after_help = format!("{EXAMPLES}\n\n{}", exit::HELP), max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Why there are no arguments.
pub(crate) enum NotParsed {
    /// A mistake in what was typed, or something to be printed instead.
    Typed(clap::Error),
    /// A mistake in a configuration file.
    Config(Failure),
}

impl From<clap::Error> for NotParsed {
    fn from(error: clap::Error) -> Self {
        Self::Typed(error)
    }
}

impl From<Failure> for NotParsed {
    fn from(failure: Failure) -> Self {
        Self::Config(failure)
    }
}

impl Args {
    /// Reads a command line, whose first word is the program, and the configuration file that it
    /// names.
    pub(crate) fn read(typed: &[OsString]) -> Result<Self, NotParsed> {
        let Some(file) = config_file(typed)? else {
            return Ok(Self::try_parse_from(typed)?);
        };
        // What stands later on the command line wins.
        let (before, after) = typed.split_at(2);
        let all = before.iter().cloned().chain(file.arguments());
        let all = all.chain(after.iter().cloned());
        let mut args = Self::try_parse_from(all).map_err(|error| match file.failure(&error) {
            Some(failure) => NotParsed::Config(failure),
            None => NotParsed::Typed(error),
        })?;
        if let Command::Serve(serve) = &mut args.command {
            serve.config.file = Some(file);
        }
        Ok(args)
    }
}

impl ServeArgs {
    /// Reads the configuration file again, and everything else as it was.
    pub(crate) fn again(file: &ConfigFile) -> Result<Box<Self>, Failure> {
        match Args::read(&file.typed) {
            Ok(Args {
                command: Command::Serve(args),
            }) => Ok(args),
            Ok(_) => Err(Failure::usage("another command")),
            Err(NotParsed::Config(failure)) => Err(failure),
            Err(NotParsed::Typed(error)) => {
                let text = error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                let line = line.trim_start_matches("error: ");
                Err(Failure::usage(format_args!(
                    "{}: {line}",
                    file.path().display()
                )))
            }
        }
    }
}

/// Reads the configuration file, if the command line or the environment names one. Only `serve` has
/// one.
fn config_file(typed: &[OsString]) -> Result<Option<ConfigFile>, Failure> {
    if typed.get(1).is_none_or(|command| command != "serve") {
        return Ok(None);
    }
    // What is wrong is found, and reported, when everything is read.
    let command = ServeArgs::augment_args(clap::Command::new("serve")).ignore_errors(true);
    let Ok(matches) = command.clone().try_get_matches_from(&typed[1..]) else {
        return Ok(None);
    };
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Ok(None);
    };
    ConfigFile::read(path, &command, typed, &matches).map(Some)
}

/// `defer`: only the options of the command that was asked for are built. Building those of all
/// commands takes as long as cloning a file.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Send a file, a directory, or standard input, to a listening peer
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
    /// Accept one connection, or make one, and write what it sends to a file, or standard output
    #[command(after_help = RECV_EXAMPLES)]
    Recv(RecvArgs),
    /// Copy a file, sharing its extents where the file system can
    #[command(after_help = COPY_EXAMPLES)]
    Copy(CopyArgs),
    /// Serve a directory over HTTP; files are sent by sendfile, straight from the page cache
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Count the copies and the mode switches of each way to move a file to a socket, on this
    /// machine
    #[command(after_help = measure::EXAMPLES)]
    Measure(MeasureArgs),
    /// Show which programs copy: bytes, calls and copies of each process, with a verdict
    #[command(after_help = top::EXAMPLES)]
    Top(TopArgs),
    /// Pass connections on to a target: bulk by splice, small messages by copying
    #[command(after_help = relay::EXAMPLES)]
    Relay(Box<RelayArgs>),
    /// Send a file, or one stream, to everyone who connects, from one buffer in the kernel
    #[command(after_help = fan_out::EXAMPLES)]
    FanOut(Box<FanOutArgs>),
    /// Show which routes could move SRC to DST, and why; moves nothing
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = COMPLETIONS_EXAMPLES
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = "Example:\n  underpass man send | man -l -")]
    Man {
        /// The page of this command; without it, underpass's own
        command: Option<String>,
    },
}

// `underpass send`
#[derive(Debug, clap::Args)]
pub(crate) struct SendArgs {
    /// The file to send; `-` for standard input. A directory, or several files, are sent as one
    /// tar archive
    #[arg(value_name = "FILE|DIR|-", required = true)]
    pub(crate) sources: Vec<PathBuf>,
    /// Where the peer listens: HOST:PORT, :PORT on this machine, unix:PATH, or tls://HOST:PORT.
    /// tcp:// may stand before a host
    #[arg(value_name = "ADDR")]
    pub(crate) to: Address,
    /// Send only these bytes: START..END, either end may be left out
    #[arg(long, value_name = "RANGE", value_parser = size::range)]
    pub(crate) range: Option<size::ByteRange>,
    /// Send the data as it was when it was read, even if the file is written to meanwhile (copies)
    #[arg(long)]
    pub(crate) stable: bool,
    /// Directories: send the numbers of owners and groups. Otherwise they are 0
    #[arg(long)]
    pub(crate) owners: bool,
    /// Directories: send extended attributes
    #[arg(long)]
    pub(crate) xattrs: bool,
    #[command(flatten)]
    pub(crate) waiting: WaitArgs,
    #[command(flatten)]
    pub(crate) agreement: AgreementArgs,
    #[command(flatten)]
    pub(crate) network: TimeoutArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
    #[command(flatten)]
    pub(crate) tls: TlsClientArgs,
    #[command(flatten)]
    pub(crate) ktls: KtlsArgs,
}

// `underpass recv`
#[derive(Debug, clap::Args)]
pub(crate) struct RecvArgs {
    /// Where to listen: HOST:PORT, :PORT on every address, unix:PATH, or tls://HOST:PORT. Port 0
    /// means any free port
    #[arg(value_name = "ADDR")]
    pub(crate) at: Address,
    /// Connect to ADDR instead of listening there, as to `underpass fan-out`
    #[arg(long)]
    pub(crate) connect: bool,
    /// The file to write; it appears whole or not at all. `-` for standard output. A directory, or
    /// a name with a slash at its end: what comes is a tar archive, and is unpacked there
    #[arg(value_name = "FILE|DIR/|-")]
    pub(crate) sink: PathBuf,
    /// Fail unless exactly this many bytes arrive
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    pub(crate) expect: Option<u64>,
    /// Accept a connection that ends without a byte as an empty file. Otherwise it is reported, and
    /// recv waits for the next one
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Directories: give what is made the archive's owners and groups, by their numbers
    #[arg(long)]
    pub(crate) owners: bool,
    /// Directories: give what is made the archive's extended attributes, but only `user.*`
    #[arg(long)]
    pub(crate) xattrs: bool,
    #[command(flatten)]
    pub(crate) agreement: AgreementArgs,
    #[command(flatten)]
    pub(crate) writing: WriteArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitArgs,
    #[command(flatten)]
    pub(crate) network: TimeoutArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
    #[command(flatten)]
    pub(crate) tls: TlsServerArgs,
    #[command(flatten)]
    pub(crate) tls_client: TlsClientArgs,
    #[command(flatten)]
    pub(crate) ktls: KtlsArgs,
}

// `underpass copy`
#[derive(Debug, clap::Args)]
pub(crate) struct CopyArgs {
    /// The file to copy; `-` for standard input
    #[arg(value_name = "SRC|-")]
    pub(crate) source: PathBuf,
    /// The copy, or the directory to put it in; `-` for standard output
    #[arg(value_name = "DST|-")]
    pub(crate) sink: PathBuf,
    /// Copy only these bytes: START..END, either end may be left out
    #[arg(long, value_name = "RANGE", value_parser = size::range)]
    pub(crate) range: Option<size::ByteRange>,
    #[command(flatten)]
    pub(crate) writing: WriteArgs,
    #[command(flatten)]
    pub(crate) common: TransferArgs,
}

// `underpass explain`
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A file, `-`, or an address. If there is a file of that name, it means the file
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// A file, `-`, or an address
    #[arg(value_name = "DST")]
    pub(crate) sink: String,
    /// Explain for this many bytes instead of the source's size
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    pub(crate) length: Option<u64>,
    /// Explain for a transfer with --stable
    #[arg(long)]
    pub(crate) stable: bool,
    /// Explain for this route only
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<Route>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ktls: KtlsArgs,
}

// Options of every command that moves bytes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TransferArgs {
    #[arg(long, value_name = "NAME", help = route_help())]
    pub(crate) route: Option<Route>,
    /// How to print the receipt, which says what the transfer cost. Without it one line for people;
    /// -v makes it several
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) receipt: Option<ReceiptForm>,
    /// Print no progress, and no receipt unless --receipt asks for it
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the plan first, and the whole receipt: routes, system calls, copies and how that is
    /// known
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

fn route_help() -> String {
    let names = Route::ALL.map(Route::as_str).join(", ");
    format!(
        "Use only this route: {names}. If it cannot be used, the command fails and says which \
         routes can"
    )
}

impl TransferArgs {
    /// Whether the receipt is one line for people.
    pub(crate) fn is_one_line(&self) -> bool {
        self.receipt_form() == ReceiptForm::Human && !self.verbose
    }

    pub(crate) fn receipt_form(&self) -> ReceiptForm {
        let unasked = if self.quiet {
            ReceiptForm::None
        } else {
            ReceiptForm::Human
        };
        self.receipt.unwrap_or(unasked)
    }
}

// Options of every command that writes a file.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WriteArgs {
    /// Replace the file if it exists; the new one takes over its owner, permissions, ACL and
    /// attributes
    #[arg(long)]
    pub(crate) force: bool,
    /// Write into the file itself if it exists, as cp does. Hard links stay, and readers see the
    /// file change. A failed transfer leaves a part
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Do not sync the file to disk. As fast as cp, but a power cut soon after may leave an empty
    /// file or none
    #[arg(long)]
    pub(crate) no_sync: bool,
}

// What send and recv have to agree on.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct AgreementArgs {
    /// Compare the BLAKE3 hash of each file at both ends, and keep only what is the same. The other
    /// side must be given --verify, too
    #[arg(long)]
    verify: bool,
    /// Send nothing again that arrived before: files of the same size and time stay, and one that
    /// was broken off goes on at its byte. The other side must be given --resume, too
    #[arg(long)]
    resume: bool,
}

impl AgreementArgs {
    /// What is wished for a single file, or a tree.
    pub(crate) fn wishes(self, single: bool) -> Wishes {
        Wishes::new(self.verify, self.resume, single)
    }
}

// Options of every command with one peer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimeoutArgs {
    /// Fail if no byte moves for this long: 30 (seconds), 500ms, 10m, 2h. Without it, wait for ever
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
}

// Options of every command that connects to one peer.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// If nobody listens there yet, try again until someone does, or for TIME. Without it, for one
    /// second
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "87600h")]
    pub(crate) wait: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  underpass recv 127.0.0.1:9000 out.bin   # takes one file; then, elsewhere:
  underpass send in.bin 127.0.0.1:9000
  underpass serve ~/Videos                # http://127.0.0.1:8080/
  underpass serve --help                  # options, and more examples";

const SEND_EXAMPLES: &str = "\
Examples:
  underpass send disk.img backup:9000
  underpass send photos/ backup:9000     # read it with recv, or with nc and tar
  tar c /etc | underpass send - unix:/run/etc.sock
  underpass send log 127.0.0.1:9000 --range 1MiB..2MiB --receipt json
  underpass send disk.img backup:9000 --wait    # until underpass recv listens
  # Again after a break; recv with the same options:
  underpass send photos/ backup:9000 --resume --verify
  # The certificate must be for that name:
  underpass send disk.img tls://backup.example:9000
  # The address that recv has printed:
  underpass send disk.img tls://10.0.0.7:9000#sha256-c0ff...

The connection ends when the transfer is complete. If the transfer fails, or
send is killed, a TCP connection is reset, so that the receiver does not
mistake a part for the whole. Unix sockets have no reset; there underpass recv
learns of the failure from a second connection.

A directory, or several files, are sent as one tar archive: `nc -l 9000 | tar
x` unpacks it, and so does `underpass recv :9000 DIR/`. Names begin with the
last component of what you name; with DIR/. they come without it. What cannot
be read, or changes meanwhile, is reported; the rest is sent, and send exits
with 3.

--verify and --resume need underpass recv with the same options on the other
side; any other program there does not answer, and send gives up before
anything is sent.

Over TCP an empty file looks like no transfer: underpass recv accepts it only
with --allow-empty.

ADDR is HOST:PORT, :PORT on this machine, unix:PATH, or tls://HOST:PORT. With
-v the receipt shows what it was taken for. With TLS the kernel encrypts where
it can, so that sendfile copies nothing; the receipt says who did. Sizes and
rates are in powers of 1024: a MiB is 1,048,576 bytes.";

const RECV_EXAMPLES: &str = "\
Examples:
  underpass recv :9000 disk.img          # at every address
  underpass recv :9000 backup/           # a directory: unpacks what comes
  underpass recv :9000 backup/ --resume --verify   # send with the same options
  underpass recv unix:/run/etc.sock - | tar x
  underpass recv 127.0.0.1:9000 part --expect 1MiB --timeout 30
  underpass recv --connect host:9000 disk.img      # from underpass fan-out
  underpass recv tls://:9000 disk.img    # prints the address to send to
  underpass recv tls://:9000 disk.img \\
    --tls-cert cert.pem --tls-key key.pem --tls-client-ca ca.pem

A connection that ends without a byte, such as a port scanner's, is reported,
and recv waits for the next one.

A directory is unpacked into from any tar program's archive: `tar c photos | nc
host 9000` does. Each file appears when it is whole. Nothing gets out of the
directory: absolute paths, `..`, paths through links, devices and FIFOs are
refused and reported, and recv exits with 3; set-user-ID is left out. Existing
files are kept unless --force is given. With FILE the archive itself is kept.

With --resume what came of a file that broke off stays in a hidden file beside
it (.underpass-*.part). Two files of the same size and time are taken for the
same, unless --verify compares their hashes.

If the sender is killed, recv fails. Over TCP it sees a reset; over a Unix
socket it notices when the sender is underpass send. When another sender on a
Unix socket is killed, that looks like the end of the data; if you know the
length, --expect tells the two apart.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  eval \"$(underpass completions bash)\"            # in ~/.bashrc
  eval \"$(underpass completions zsh)\"             # in ~/.zshrc, after compinit
  underpass completions fish | source               # in config.fish
  underpass completions zsh > /usr/share/zsh/vendor-completions/_underpass";

const COPY_EXAMPLES: &str = "\
Examples:
  underpass copy disk.img backup/
  underpass copy disk.img - | ssh host 'cat > disk.img'
  underpass copy disk.img clone.img --route reflink
  underpass copy new.conf /etc/app.conf --force      # keeps owner and mode";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  underpass explain disk.img backup:9000
  underpass explain disk.img backup/disk.img
  underpass explain - unix:/run/etc.sock --json";
