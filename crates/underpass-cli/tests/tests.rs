//! The binary from outside: arguments, files, peers and signals in; bytes, receipts, exit codes and messages out.

mod support;

mod bad_input;
mod changing_source;
mod copy;
mod copy_file_systems;
mod copy_ranges;
mod delivery;
mod explain;
mod gathering;
mod generated;
mod listening;
mod measure;
mod measure_ends;
mod measure_input;
mod memory;
mod other_peers;
mod recv_file;
mod relay_bytes;
mod relay_counts;
mod relay_ends;
mod relay_faults;
mod relay_limits;
mod relay_targets;
mod send_recv;
mod serve_access;
mod serve_logs;
mod serve_metrics;
mod serve_sockets;
mod serve_start_stop;
mod serve_usage;
mod signals;
mod sparse;
mod standard_streams;
