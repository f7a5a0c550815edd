//! One run: brings up what is measured over, takes all samples, and writes the report.

use std::io;
use std::rc::Rc;

use crate::account::{self, Outcome};
use crate::error::{Context, Error, Result};
use crate::file::TestFile;
use crate::machine;
use crate::network::{self, Network};
use crate::pin::Processors;
use crate::probe::{self, Kprobes, Offer, Probe, Sampling, ThreadUsage, Tracepoints};
use crate::receiver::{Receiver, Use};
use crate::report::{self, Report, Row};
use crate::sample::{Errand, Stage};
use crate::settings::Settings;
use crate::symbols::Symbols;
use crate::tracefs::Tracefs;
use crate::way::{CALL, Way};
